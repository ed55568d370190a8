"""Control arms: cuts that react to nothing."""

from collections.abc import Mapping, Sequence

from simulator.policies.observation import Decision, Observation
from simulator.scenario import FixedPolicy, PerDevicePolicy


def fixed(observations: Sequence[Observation], memory: Mapping[int, float], settings: FixedPolicy) -> Decision:
    """Return the same cut for every client: SplitFT's baseline "same split"."""
    return Decision(
        cuts={o.client: settings.cut for o in observations},
        reasons={o.client: "fixed" for o in observations},
        memory=memory,
    )


def per_device(observations: Sequence[Observation], memory: Mapping[int, float], settings: PerDevicePolicy) -> Decision:
    """Return the cut that the scenario names for each client's device."""
    return Decision(
        cuts={o.client: settings.cuts.get(o.device, settings.default) for o in observations},
        reasons={o.client: "per device" for o in observations},
        memory=memory,
    )


def unsplit(observations: Sequence[Observation], memory: Mapping[int, float], settings: object) -> Decision:  # noqa: ARG001
    """Return all blocks for every client: what a protocol without a cut does, whatever the scenario's policy."""
    return Decision(
        cuts={o.client: o.max_cut for o in observations},
        reasons={o.client: "not cut" for o in observations},
        memory=memory,
    )
