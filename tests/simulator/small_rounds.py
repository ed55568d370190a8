"""Small rounds with round numbers, which tests of protocols and of faults share."""

from types import SimpleNamespace

import numpy as np
import pytest

from simulator.clock.world import World
from simulator.network.connections import ServerLinks
from simulator.protocols.rounds import FOR_EVERYBODY, ClientPlan, PaddedBatch
from simulator.protocols.sfl_v1 import run_round
from simulator.records.recorder import RunWriter

MB = 1_000_000
BATCH = PaddedBatch(num_samples=2, length_tokens=8, num_real_tokens=12)


class HandCosts:
    """Round numbers, so that event times can be added up in one's head; a client's forward time may differ.

    Alone, on links of 1 MB/s, a round of one step takes a client 4 s (adapter down) + 1 (forward) + 2 (activations up)
    + 3 (server) + 1 (gradients down) + 2 (backward) + 0.5 (optimizer) + 3 (adapter up) = 16.5 s.
    """

    def __init__(self, forward_s=(1.0,), activation_bytes=2 * MB, label_bytes=0, server_step_s=3.0):
        self.forward_s, self.activation_bytes, self.label_bytes = forward_s, activation_bytes, label_bytes
        self.server_step_s = server_step_s

    def step(self, client, cut, num_samples, length_tokens):
        return SimpleNamespace(
            client_forward_s=self.forward_s[client],
            activation_bytes=self.activation_bytes,
            label_bytes=self.label_bytes,
            server_step_s=self.server_step_s,
            gradient_bytes=1 * MB,
            client_backward_s=2.0,
            client_optimizer_s=0.5,
            server_optimizer_s=0.5,
        )

    def whole_step(self, client, num_samples, length_tokens):
        return SimpleNamespace(forward_s=self.forward_s[client], backward_s=2.0, optimizer_s=0.5)

    def local_step(self, client, cut, num_samples, length_tokens):
        return SimpleNamespace(
            client_forward_s=self.forward_s[client],
            activation_bytes=self.activation_bytes,
            label_bytes=self.label_bytes,
            server_step_s=self.server_step_s,
            client_backward_s=2.0,
            client_optimizer_s=0.5,
        )

    def u_shape_step(self, client, cut, num_samples, length_tokens):
        return SimpleNamespace(
            client_forward_s=self.forward_s[client],
            activation_bytes=self.activation_bytes,
            server_forward_s=self.server_step_s / 3,
            head_forward_s=0.25,
            head_backward_s=0.25,
            gradient_bytes=1 * MB,
            server_backward_s=self.server_step_s * 2 / 3,
            client_backward_s=2.0,
            client_optimizer_s=0.5,
        )

    def validation(self, client, cut, num_samples, length_tokens):
        return SimpleNamespace(
            client_forward_s=1.0, activation_bytes=2 * MB, label_bytes=self.label_bytes, server_forward_s=1.5
        )

    def round(self, client, cut, stacked):
        return SimpleNamespace(adapter_download_bytes=4 * MB, adapter_upload_bytes=3 * MB, client_merge_s=len(stacked))

    def aggregate_s(self, handed_in):
        return 0.25 * len(handed_in)


def small_world(
    costs,
    *,
    num_clients=1,
    uplink=1 * MB,
    downlink=1 * MB,
    server_uplink=1e12,
    latency_s=0.0,
    outages_s=(),
    fast_forward=True,
    slots=1,
    discipline="fifo",
):
    """Return (world, writer); links are in bytes a second."""
    fleet = SimpleNamespace(
        uplink_bytes_per_s=np.full(num_clients, uplink),
        downlink_bytes_per_s=np.full(num_clients, downlink),
        latency_s=np.full(num_clients, latency_s),
    )
    writer = RunWriter(None, {})
    world = World(
        fleet=fleet,
        server_links=ServerLinks(uplink_bytes_per_s=server_uplink, downlink_bytes_per_s=1e12, latency_s=0.0),
        slots=slots,
        costs=costs,
        spans=writer.spans,
        outages_s=outages_s,
        discipline=discipline,
        fast_forward=fast_forward,
    )
    return world, writer


def plan(client, *, num_steps=1, validate=False, **changes):
    """Return what a client does in a round."""
    return ClientPlan(
        client=client, cut=2, steps=(BATCH,) * num_steps, validation=(BATCH,) if validate else (), **changes
    )


def play(
    costs,
    plans=None,
    *,
    num_clients=1,
    num_steps=1,
    validate=False,
    terms=FOR_EVERYBODY,
    run=run_round,
    **world_changes,
):
    """Run a round (of SplitFed V1) of `num_clients` clients that stay, or as `plans` say, and return (log, spans)."""
    plans = plans or [plan(k, num_steps=num_steps, validate=validate) for k in range(num_clients)]
    world, writer = small_world(costs, num_clients=len(plans), **world_changes)
    log = run(world, 1, plans, terms)
    writer.spans.flush_round(1)
    return log, writer.records().spans


def events(spans, client):
    """Return (kind, step, start, end) of each of a client's spans, in order of time."""
    own = spans[spans.client == client].sort_values(["start_s", "span_id"], kind="stable")
    return list(zip(own.kind, own.step, own.start_s, own.end_s, strict=True))


def close(expected):
    """Return the same (kind, step, start, end), equal to times that rounding has moved."""
    return [(kind, step, *(pytest.approx(time_s, rel=1e-9) for time_s in times)) for kind, step, *times in expected]


WHOLE_ROUND_BYTES = {
    "download_adapter": 4 * MB,
    "upload_activations": 4 * MB,
    "download_gradients": 2 * MB,
    "upload_adapter": 3 * MB,
}
"""Of a client that takes two steps: 4 MB and 2 x 1 MB down, 2 x 2 MB and 3 MB up."""


def times(spans, client):
    """Return (start, end) of a client's spans of one round by kind; of one step."""
    own = spans[spans.client == client]
    return {kind: (start_s, end_s) for kind, start_s, end_s in zip(own.kind, own.start_s, own.end_s, strict=True)}


def ends(spans, client):
    """Return when a client's spans of one round end, by kind."""
    return {kind: end_s for kind, (_, end_s) in times(spans, client).items()}
