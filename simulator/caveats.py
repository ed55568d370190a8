"""What a run leaves out of what its scenario speaks of: sentences for users."""

from devices.fleets import FleetMixture
from simulator.scenario import Scenario


def missing_performance(scenario: Scenario) -> str | None:
    """Return why the policy's performance term is 0, where it is (`simulator.policies.splitft`)."""
    policy = scenario.policy
    if scenario.execution.trainer == "cost-only" and policy.kind == "splitft" and policy.gamma_perf > 0:
        return f"0, whatever gamma_perf ({policy.gamma_perf:g}): a cost-only run does not know how well clients learn"
    return None


def unused_device(scenario: Scenario) -> str | None:
    """Return that nothing looks at the device that a scenario names, where nobody trains."""
    execution = scenario.execution
    if execution.trainer == "cost-only" and execution.device != "auto":
        return f"execution.device: {execution.device} is neither used nor looked for: a cost-only run computes nothing"
    return None


def unused_variation(mixture: FleetMixture) -> str | None:
    """Return which of a fleet's numbers on varying speed no cost follows from, if it has any."""
    has = [(mixture.compute_jitter_ln_sigma > 0, "jitter"), (mixture.throttle is not None, "slowing down with heat")]
    named = [name for holds, name in has if holds]
    if not named:
        return None
    return f"fleet '{mixture.id}': {' and '.join(named)} of its devices are not simulated; their speed is constant"
