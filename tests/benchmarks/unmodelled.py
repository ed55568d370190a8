"""How large some effects are that the clock leaves out.

TCP, as SimGrid's model LV08 has it (Velho & Legrand 2009), which was fitted to packet simulations of cold connections:
13.01 times the latency and 0.97 of the rate. Scenarios run twice, as they are and with links changed like that. Only
the clock runs. Batching at the server: what two or four steps cost as one, by the cost model, over one after another.
From the repository root, in a few seconds:

    python -m tests.benchmarks.unmodelled
"""

import dataclasses
from typing import TypeVar

from devices.fleets import Fleet
from simulator.network.connections import ServerLinks
from simulator.scenario import Scenario
from simulator.setting import Setting, resolve
from splitft.api import run_setting

AnyLinks = TypeVar("AnyLinks", Fleet, ServerLinks)

LATENCY_FACTOR, RATE_FACTOR = 13.01, 0.97
CASES = (
    ("quickstart", ()),
    ("quickstart", ("workload.priced_as=gpt2",)),
    ("cost-only-phones", ()),
)
PRICED = ("tiny", "gpt2", "llama-3.2-1b")
BATCH_SIZE, LENGTH_TOKENS, CUT = 4, 128, 2


def slowed(setting: Setting) -> Setting:
    """Return a setting whose links are as LV08 has them."""
    return dataclasses.replace(setting, fleet=_slower(setting.fleet), server_links=_slower(setting.server_links))


def _slower(links: AnyLinks) -> AnyLinks:
    return dataclasses.replace(
        links,
        latency_s=links.latency_s * LATENCY_FACTOR,
        uplink_bytes_per_s=links.uplink_bytes_per_s * RATE_FACTOR,
        downlink_bytes_per_s=links.downlink_bytes_per_s * RATE_FACTOR,
    )


def makespan_s(setting: Setting) -> float:
    """Return when the last round of a run ends."""
    return float(run_setting(setting, None, plots=False).rounds.end_s.max())


def batched(setting: Setting, num_steps: int) -> float:
    """Return the time of steps of the server as one, over that of one after another."""
    one, together = (
        setting.costs.step(0, CUT, num_samples, LENGTH_TOKENS).server_step_s
        for num_samples in (BATCH_SIZE, num_steps * BATCH_SIZE)
    )
    return together / (num_steps * one)


def main() -> None:
    """Print a line for each case."""
    for name, changes in CASES:
        setting = resolve(Scenario.load(name, [*changes, "execution.trainer=cost-only"]))
        plain_s, slowed_s = makespan_s(setting), makespan_s(slowed(setting))
        print(
            f"{' '.join([name, *changes])}: {plain_s:.4g} s, with LV08 {slowed_s:.4g} s: times {slowed_s / plain_s:.2f}"
        )
    for name in PRICED:
        setting = resolve(Scenario.load("quickstart", [f"workload.priced_as={name}", "execution.trainer=cost-only"]))
        two, four = (batched(setting, num_steps) for num_steps in (2, 4))
        print(f"batching at the server, priced as {name}: two steps {two:.2f}, four {four:.2f}")


if __name__ == "__main__":
    main()
