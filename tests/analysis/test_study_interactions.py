"""Interaction plots on runs whose numbers are chosen."""

import math

import pandas as pd
import pytest

from analysis.study_interactions import cell_means, interactions
from tests.analysis.made_study import made_study

POLICIES, SLOTS = ("fixed", "splitft"), (1, 4)
# Rounds of 2 s; adaptive ones are half as long beside one slot, and as long beside four. Seeds add a tenth each.
CASES = [
    {
        "varied": {"policy.kind": policy, "server.slots": slots},
        "seed": seed,
        "perplexities": [64.0, 40.0],
        "round_s": (1.0 if (policy, slots) == ("splitft", 1) else 2.0) + 0.1 * seed,
    }
    for slots in SLOTS
    for policy in POLICIES
    for seed in range(3)
]

FRAME = pd.DataFrame({"a": [1, 1, 2, 2], "b": ["x"] * 4, "seed": [0, 1, 0, 1], "y": [1.0, 3.0, 5.0, 5.0]})


@pytest.fixture
def study(tmp_path):
    return made_study(tmp_path / "study", CASES)


def test_cells_are_means_over_seeds_in_order_of_appearance():
    found = cell_means(FRAME, "a", "y", ["b"])
    assert found[["line", "x", "mean"]].to_numpy().tolist() == [["x", "1", 2.0], ["x", "2", 5.0]]
    alone = cell_means(FRAME.iloc[[0, 2]], "a", "y", [])
    assert [math.isnan(half) for half in alone["half"]] == [True, True]


def test_intervals_are_of_what_a_seed_does_not_do_to_all_alike():
    # Less the means of the seeds, 3 and 4, the first cell has -2 and -1 and the second 2 and 1: standard deviations of
    # sqrt(0.5), over sqrt(2) seeds 0.5, times t = 12.706, times sqrt(2 / 1) for two cells.
    assert cell_means(FRAME, "a", "y", [])["half"].tolist() == pytest.approx(
        [12.706 * 0.5 * math.sqrt(2)] * 2, rel=1e-4
    )
    # a seed that is 100 worse in all of them changes no interval
    harder = FRAME.assign(y=FRAME.y + 100 * FRAME.seed)
    assert cell_means(harder, "a", "y", [])["half"].tolist() == pytest.approx(
        [12.706 * 0.5 * math.sqrt(2)] * 2, rel=1e-4
    )
    # and of several cases of a seed there is one mean
    twice = pd.concat([FRAME.assign(c=0), FRAME.assign(c=1)])
    assert cell_means(twice, "a", "y", []).equals(cell_means(FRAME, "a", "y", []))


def test_lines_that_interact_are_not_parallel(study):
    figure = interactions(study, x="server.slots", y="simulated_s", by=["policy.kind"])
    [axes] = figure.axes
    fixed, adaptive = ([float(y) for y in line.get_ydata()] for line in axes.lines[::3])
    # one round each: 2.1 s in the mean, but 1.1 for adaptive cuts beside one slot
    assert fixed == pytest.approx([2.1, 2.1])
    assert adaptive == pytest.approx([1.1, 2.1])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "4"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fixed", "splitft"]
    assert axes.get_ylabel() == "simulated time (s)"


def test_intervals_of_seconds_are_cut_off_at_0(tmp_path):
    cases = [{**case, "round_s": 1.0 + 3.0 * (case["seed"] == place // 3)} for place, case in enumerate(CASES)]
    figure = interactions(made_study(tmp_path / "s", cases), x="server.slots", y="simulated_s", by=["policy.kind"])
    bars = [segment for bar in figure.axes[0].collections for segment in bar.get_segments()]
    assert min(bar[0][1] for bar in bars) == 0.0  # Student's interval of 4 s, 1 s and 1 s is wider than its mean
    assert max(bar[1][1] for bar in bars) > 4.0


def test_long_values_under_the_axes_are_short_or_slanted(tmp_path):
    kinds = ["{kind: fixed, cut: 2}", "{kind: splitft}", "{kind: mypolicies.py:the_deepest_half}"]
    cases = [{"varied": {"policy.kind": kind}, "seed": 0, "perplexities": [9.0, 8.0]} for kind in kinds]
    for shown, rotation in ((cases[:2], 0), (cases, 30)):
        study = made_study(tmp_path / str(rotation), shown)
        [axes] = interactions(study, x="policy.kind", y="simulated_s", by=[]).axes
        labels = axes.get_xticklabels()
        assert [text.get_text() for text in labels] == ["fixed", "splitft", "mypolicies.py:the_deepest_half"][
            : len(shown)
        ]
        assert {text.get_rotation() for text in labels} == {rotation}


def test_a_grid_with_holes_and_what_is_unknown_are_refused(study):
    frame = pd.DataFrame({"a": [1, 1, 2], "b": ["x", "y", "x"], "seed": [0, 0, 0], "y": [1.0, 3.0, 5.0]})
    with pytest.raises(ValueError, match="needs a whole grid"):
        cell_means(frame, "a", "y", ["b"])
    with pytest.raises(ValueError, match="y is unknown in 1 of 3 cases"):
        cell_means(frame.assign(y=[1.0, math.nan, 2.0]), "a", "y", [])
    with pytest.raises(ValueError, match="--y: expected simulated_s"):
        interactions(study, x="server.slots", y="second", by=[])
    with pytest.raises(ValueError, match=r"has the key 'server\.slot'"):
        interactions(study, x="server.slot", y="simulated_s", by=[])
