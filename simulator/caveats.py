"""What a run leaves out of what its scenario speaks of: sentences for users."""

from devices.fleets import FleetMixture
from simulator.scenario import Scenario
from simulator.sections.costs import CostsSection
from simulator.sections.participation import OortSelection
from simulator.sections.policy import OwnPolicy, SplitFTPolicy
from simulator.sections.protocol import UNSPLIT
from simulator.serving import serving

UNKNOWN = "a cost-only run does not know how well clients learn"


def missing_performance(scenario: Scenario) -> str | None:
    """Return why the policy's performance term is 0, where it is (`simulator.policies.splitft`)."""
    if scenario.execution.trainer != "cost-only" or scenario.protocol.kind in UNSPLIT:
        return None
    match scenario.policy:
        case SplitFTPolicy(gamma_perf=gamma) if gamma > 0:
            return f"0, whatever gamma_perf ({gamma:g}): {UNKNOWN}"
        case OwnPolicy(reads_performance=True):
            return f"none for the user's own policy: {UNKNOWN}"
        case _:
            return None


def missing_losses(scenario: Scenario) -> str | None:
    """Return why losses do not decide on participants, where they would (`simulator.participation.oort`)."""
    if scenario.execution.trainer == "cost-only" and isinstance(scenario.selection, OortSelection):
        return f"oort goes by durations alone: {UNKNOWN}"
    return None


def unused_server(scenario: Scenario) -> str | None:
    """Return what the protocol has no use for of how the server serves (`simulator.serving`)."""
    stated, used, kind = scenario.server, serving(scenario), scenario.protocol.kind
    if kind == "local-loss" and stated.discipline != used.discipline:
        return f"protocol {kind}: clients wait for no step of the server, which takes them in order of arrival"
    differing = [
        (stated.slots > used.slots, f"{stated.slots - used.slots} of {stated.slots} slots lie idle"),
        (stated.discipline == "processor-sharing" != used.discipline, "steps do not share a slot"),
    ]
    words = "; ".join(word for holds, word in differing if holds)
    if not words:
        return None
    return f"protocol {kind}: the server steps one adapter, step after step: {words}"


def unused_device(scenario: Scenario) -> str | None:
    """Return that nothing looks at the device that a scenario names, where nobody trains."""
    execution = scenario.execution
    if execution.trainer == "cost-only" and execution.device != "auto":
        return f"execution.device: {execution.device} is neither used nor looked for: a cost-only run computes nothing"
    return None


def unused_variation(mixture: FleetMixture, costs: CostsSection) -> str | None:
    """Return which of a fleet's numbers on varying speed the scenario leaves out, if it has any."""
    has = [
        (mixture.compute_jitter_ln_sigma > 0 and costs.jitter.kind == "none", "jitter", "costs.jitter"),
        (mixture.throttle is not None and costs.throttle.kind == "none", "slowing down with heat", "costs.throttle"),
    ]
    named, keys = [name for holds, name, _ in has if holds], [key for holds, _, key in has if holds]
    if not named:
        return None
    left_out = f"{' and '.join(named)} of its devices {'are' if len(named) > 1 else 'is'} left out"
    return f"fleet '{mixture.id}': {left_out}; {' and '.join(keys)}: catalogue charges for them"
