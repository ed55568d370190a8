"""Control arms: cuts that react to nothing."""

from collections.abc import Sequence

from simulator.policies.observation import Decision, Memory, Observation
from simulator.sections.policy import FixedPolicy, MemoryGreedyPolicy, PerDevicePolicy, RandomPolicy


def fixed(observations: Sequence[Observation], memory: Memory, settings: FixedPolicy) -> Decision:
    """Return the same cut for every client: SplitFT's baseline "same split"."""
    return Decision(
        cuts={o.client: settings.cut for o in observations},
        reasons={o.client: "fixed" for o in observations},
        memory=memory,
    )


def per_device(observations: Sequence[Observation], memory: Memory, settings: PerDevicePolicy) -> Decision:
    """Return the cut that the scenario names for each client's device."""
    return Decision(
        cuts={o.client: settings.cuts.get(o.device, settings.default) for o in observations},
        reasons={o.client: "per device" for o in observations},
        memory=memory,
    )


def random(observations: Sequence[Observation], memory: Memory, settings: RandomPolicy) -> Decision:  # noqa: ARG001
    """Return for each client any of its allowed cuts, each as likely."""
    return Decision(
        cuts={o.client: o.allowed[int(o.draw * len(o.allowed))] for o in observations},
        reasons={o.client: "drawn" for o in observations},
        memory=memory,
    )


def memory_greedy(
    observations: Sequence[Observation],
    memory: Memory,
    settings: MemoryGreedyPolicy,  # noqa: ARG001
) -> Decision:
    """Return for each client the deepest cut that it can hold: the least that the server can be left with."""
    return Decision(
        cuts={o.client: o.max_cut for o in observations},
        reasons={o.client: "all that fits" for o in observations},
        memory=memory,
    )


def unsplit(observations: Sequence[Observation], memory: Memory, settings: object) -> Decision:  # noqa: ARG001
    """Return all blocks for every client: what a protocol without a cut does, whatever the scenario's policy."""
    return Decision(
        cuts={o.client: o.max_cut for o in observations},
        reasons={o.client: "not cut" for o in observations},
        memory=memory,
    )
