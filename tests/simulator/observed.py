"""Observations of clients for tests of cut policies."""

import numpy as np

from simulator.policies.observation import CutCosts, Observation, RoundSeconds


def never():
    raise AssertionError("nobody needs predictions here")


def ahead(client_s, transfer_s=0.0, server_s=0.0, slowdown=1.0, *, is_beside=False):
    """Return costs by cut from 1: lists, or one number for all cuts."""
    parts = np.broadcast_arrays(*(np.asarray(part, dtype=np.float64) for part in (client_s, transfer_s, server_s)))
    client_s, transfer_s, server_s = parts
    seconds = RoundSeconds(client_s=client_s, transfer_s=transfer_s, server_s=server_s, is_beside=is_beside)
    return CutCosts(lambda: seconds, lambda: slowdown)


def observed(client=0, **changes):
    """Return an observation of a client that has nothing to say, but for what is given."""
    nothing = dict.fromkeys(["cut", "busy_s", "step_s", "client_block_s", "server_block_s", "performance"])
    rest = {
        "device": "d",
        "min_cut": 1,
        "max_cut": 11,
        "uplink_bytes_per_s": 1e6,
        "draw": 0.0,
        "slots": 1,
        "is_relayed": False,
    }
    return Observation(**{"client": client, **nothing, **rest, "costs": CutCosts(never, never), **changes})
