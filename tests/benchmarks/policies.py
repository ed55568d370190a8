"""Cut policies on shipped scenarios: the table and the pictures of `docs/policies.md`.

Only the clock runs. Run from the repository root:

    python -m tests.benchmarks.policies [--pictures]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import splitft
from analysis.style import CLIENT_COLOURS, dress, new_figure, save
from simulator.policies.deciding import POLICIES

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SCENARIOS = ("busy-server", "stragglers", "memory-wall", "slow-uplink", "paper")
NUM_ROUNDS = 30


def round_times_s(scenario: str, *overrides: str) -> pd.Series:
    """Return the seconds of each of a run's rounds."""
    rounds = splitft.run(splitft.Scenario.load(scenario, [*overrides, f"rounds={NUM_ROUNDS}"])).rounds
    return (rounds.end_s - rounds.start_s).set_axis(rounds["round"])


def arms() -> dict[str, Sequence[str]]:
    """Return what is compared, by name."""
    others = {kind: [f"policy.kind={kind}"] for kind in POLICIES if kind not in {"fixed", "per-device"}}
    common = {f"fixed, cut {cut}": ["policy.kind=fixed", f"policy.cut={cut}"] for cut in (1, 4)}
    unmeasured = {"splitft, gamma_perf 0": ["policy.kind=splitft", "policy.gamma_perf=0"]}
    return {**common, **unmeasured, **others}


def print_table() -> None:
    """Print the mean seconds of a round over the last ten of thirty, as Markdown."""
    print(f"| policy | {' | '.join(SCENARIOS)} |\n|---|{'---|' * len(SCENARIOS)}")
    for name, overrides in arms().items():
        cells = []
        for scenario in SCENARIOS:
            try:
                cells.append(f"{round_times_s(scenario, *overrides).tail(10).mean():.3g}")
            except splitft.InputError:
                cells.append("does not fit")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def draw(scenario: str, shown: Sequence[str], title: str, subtitle: str) -> None:
    """Draw the seconds of each round under some policies, and write them as a picture."""
    figure = new_figure(4.0)
    axes = figure.subplots()
    for name, colour in zip(shown, CLIENT_COLOURS, strict=False):
        rounds_s = round_times_s(scenario, *arms()[name])
        axes.plot(rounds_s.index, rounds_s, color=colour, linewidth=2, label=name)
    axes.set_xlabel("round", fontsize=11)
    axes.set_ylabel("simulated time of the round (s)", fontsize=11)
    axes.set_ylim(bottom=0)
    dress(axes, title, subtitle)
    axes.legend(fontsize=10, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    print(save(figure, IMAGES / f"policies-{scenario}.png"))


def main() -> None:
    """Print the table, or draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", action="store_true", help="draw the pictures instead")
    if not parser.parse_args().pictures:
        print_table()
        return
    crowd = ["fixed, cut 1", "fixed, cut 4", "random", "splitft", "dtfl", "bandit", "optimal"]
    draw("busy-server", crowd, "Many laptops at one small server", "scenario busy-server, cost-only")
    few = ["fixed, cut 1", "fixed, cut 4", "splitft", "splitft, gamma_perf 0", "bandit", "optimal"]
    draw(
        "stragglers",
        few,
        "Two slow machines among ten",
        "scenario stragglers, cost-only, GPT2-small; dtfl is as optimal",
    )


if __name__ == "__main__":
    main()
