"""What a study answers, on runs whose numbers are chosen."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from analysis.comparison import compare
from analysis.statistics import main_effects, pareto_front
from analysis.study_frame import over_seeds, scenario_value, study_frame, with_keys
from analysis.study_plots import band, curves, front, possible, save_figure
from analysis.study_ratios import paired_ratios, ratios
from analysis.study_tables import save_table, summarised, to_csv, to_latex, to_markdown, with_text_keys
from simulator.records.runs import RunFolderError
from tests.analysis.made_study import made_run, made_study

FIXED, ADAPTIVE = {"policy.kind": "fixed"}, {"policy.kind": "splitft"}
# Adaptive rounds take half the time, and end 1, 2 and 3 lower in perplexity.
CASES = [
    *({"varied": FIXED, "seed": seed, "perplexities": [64.0, 40.0, 32.0 + seed], "round_s": 2.0} for seed in range(3)),
    *({"varied": ADAPTIVE, "seed": seed, "perplexities": [64.0, 40.0, 31.0], "round_s": 1.0} for seed in range(3)),
]


@pytest.fixture
def study(tmp_path):
    return made_study(tmp_path / "study", CASES, target=31.5)


def test_the_frame_says_how_each_case_came_out(study):
    frame = study_frame(study)
    first = frame.iloc[0]
    assert (first["case"], first["seed"], first["policy.kind"]) == ("001", 0, "fixed")
    assert (first["simulated_s"], first["up_bytes"], first["down_bytes"]) == (4.0, 200, 400)  # two rounds
    assert first["perplexity"] == first["best_perplexity"] == pytest.approx(32.0)
    assert math.isnan(first["energy_j"])  # unknown, not 0
    assert first["mean_cut"] == 1.5  # 2, then 1
    assert first["client_parameters"] == 15
    assert first["trained_parameters"] == 60
    assert (first["num_cut_changes"], first["counted_frac"]) == (1, 1.0)


def test_the_frame_tells_a_target_that_was_missed_from_one_that_was_met(study):
    frame = study_frame(study)
    assert list(frame["target_reached"]) == [False] * 3 + [True] * 3
    assert list(frame["followed_s"]) == [4.0] * 3 + [2.0] * 3
    assert frame["target_s"].isna().sum() == 3
    assert list(frame["target_bytes"][3:]) == [600.0] * 3


def test_any_key_of_the_scenario_can_be_asked_for_and_others_are_refused(study):
    frame = study_frame(study)
    assert list(with_keys(study, frame, ["seed.training"])["seed.training"]) == [0, 1, 2] * 2
    with pytest.raises(ValueError, match=r"has the key .polcy.; varied: policy\.kind"):
        with_keys(study, frame, ["polcy"])


def test_a_summary_has_means_intervals_and_when_half_had_reached_the_target(study):
    table = summarised(study_frame(study), ["policy.kind"], ["perplexity"]).set_index("policy.kind")
    fixed, adaptive = table.loc["fixed"], table.loc["splitft"]
    assert (fixed["num_cases"], fixed["perplexity"]) == (3, pytest.approx(33.0))
    assert fixed["perplexity_pm"] == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)  # standard deviation 1, t of 2
    assert (fixed["num_reached"], adaptive["num_reached"]) == (0, 3)
    assert math.isnan(fixed["target_median_s"])
    assert adaptive["target_median_s"] == 2.0


def test_cases_of_one_seed_are_averaged_before_their_interval(study):
    frame = study_frame(study)
    [row] = summarised(frame.assign(seed=[0, 0, 0, 1, 1, 1]), [], ["perplexity"]).to_dict("records")
    # means of 33 and 31: standard deviation 2 / sqrt(2), t of 1 degree 12.706
    assert row["perplexity_pm"] == pytest.approx(12.7062 * 2 / math.sqrt(2) / math.sqrt(2), rel=1e-4)
    [row] = summarised(frame.assign(seed=0), [], ["perplexity"]).to_dict("records")
    assert math.isnan(row["perplexity_pm"])


def test_a_key_keeps_its_values_where_cases_lack_it_and_where_their_types_differ(tmp_path):
    varied = [{"server.slots": 4}, {"policy.cut": None}, {"policy.cut": 3}, {"policy.cut": "deep"}]
    cases = [{"varied": item, "seed": 0, "perplexities": [9.0, 8.0]} for item in varied]
    study = made_study(tmp_path / "s", cases)
    frame = study_frame(study)
    assert list(frame["server.slots"]) == [4, None, None, None]
    assert list(frame["policy.cut"]) == [None, None, "3", "deep"]
    save_table(frame, "parquet", tmp_path / "f.parquet")
    assert list(pd.read_parquet(tmp_path / "f.parquet")["server.slots"].dropna()) == [4]
    assert "| 001 | 0 | 4 | - |" in to_markdown(frame)
    table = summarised(frame, ["server.slots"], ["simulated_s"])
    assert list(table["server.slots"]) == [4, None]
    assert main_effects(frame.iloc[1:], ["policy.cut"], "simulated_s")["share"].iloc[0] == 0
    assert list(paired_ratios(frame.iloc[1:3], "simulated_s", ["policy.cut"])["policy.cut"]) == ["-", "3"]


def test_a_case_that_does_not_vary_a_key_has_what_its_scenario_says(tmp_path):
    cases = [{"varied": {"server.slots": slots}, "seed": 0, "perplexities": [9.0, 8.0]} for slots in (4, 1)]
    study = made_study(tmp_path / "s", cases)
    lacking = dataclasses.replace(study.cases[1], varied={})
    frame = study_frame(dataclasses.replace(study, cases=(study.cases[0], lacking)))
    assert list(frame["server.slots"]) == [4, 1]


def test_a_column_that_there_is_not_names_those_there_are(study):
    with pytest.raises(ValueError, match="no column 'perplexty'; metrics are simulated_s"):
        summarised(study_frame(study), ["policy.kind"], ["perplexty"])


TABLE = pd.DataFrame(
    {"a_b": ["x|y", "50%"], "value": [1234.5678, math.nan], "value_pm": [0.0123, math.nan], "count": [3, 4]}
)


def test_markdown_has_four_digits_and_escapes_bars():
    assert to_markdown(TABLE) == (
        "| a_b | value | count |\n| --- | --- | --- |\n| x\\|y | 1,235 ± 0.012 | 3 |\n| 50% | - | 4 |\n"
    )


def test_a_number_without_bound_is_said_to_be_so():
    assert "| inf |" in to_markdown(pd.DataFrame({"perplexity": [math.inf]}))


def test_latex_escapes_what_it_would_read():
    text = to_latex(TABLE)
    assert r"a\_b & value & count \\" in text
    assert r"50\% & - & 4 \\" in text
    assert r"1,235 $\pm$ 0.012" in text
    assert r"\begin{tabular}{lrr}" in text


def test_csv_and_parquet_keep_numbers_in_full(tmp_path, study):
    frame = study_frame(study)
    (tmp_path / "f.csv").write_text(to_csv(frame))
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "f.csv", dtype={"case": "str"}), frame, check_dtype=False)
    save_table(frame, "parquet", tmp_path / "f.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "f.parquet"), frame)


def test_the_band_of_curves_with_equal_x_is_their_mean_and_students_interval():
    x = np.array([0.0, 1.0])
    found = band([(x, np.array([4.0, 1.0])), (x, np.array([4.0, 2.0])), (x, np.array([4.0, 3.0]))])
    assert list(found.mean) == [4.0, 2.0]
    assert list(found.half) == pytest.approx([0.0, 4.30265 / math.sqrt(3)], rel=1e-5)


def test_the_band_is_over_seeds_and_not_over_all_runs_of_them():
    x = np.array([0.0, 1.0])
    curves_of_two_seeds = [(x, np.array([4.0, y])) for y in (1.0, 3.0, 4.0, 6.0)]
    found = band(curves_of_two_seeds, [0, 0, 1, 1])
    assert list(found.mean) == [4.0, 3.5]
    # Seeds have 2 and 5: standard deviation 3 / sqrt(2), t of 1 degree 12.706.
    assert list(found.half) == pytest.approx([0.0, 12.7062 * 3 / 2], rel=1e-4)
    assert np.isnan(band(curves_of_two_seeds, [0] * 4).half).all()


def test_a_curve_that_has_ended_keeps_its_last_value_until_the_last_one_ends():
    found = band([(np.array([0.0, 10.0]), np.array([0.0, 10.0])), (np.array([2.0, 6.0]), np.array([4.0, 8.0]))])
    assert (found.x[0], found.x[-1]) == (2.0, 10.0)
    # y = x beside y = x + 2, which stays at 8 from 6 on
    assert found.mean == pytest.approx((found.x + np.minimum(found.x + 2, 8.0)) / 2)
    assert found.mean[-1] == (10 + 8) / 2  # of the last values
    assert list(found.ends) == [6.0, 10.0]


def test_intervals_end_where_no_value_can_be():
    mean, half = np.array([1.0, 0.9, 5.0]), np.array([2.0, 0.2, math.nan])
    low, high = possible("simulated_s", mean, half)
    assert (list(low[:2]), list(high[:2])) == ([0.0, pytest.approx(0.7)], [3.0, pytest.approx(1.1)])
    assert list(possible("counted_frac", mean[:2], half[:2])[1]) == [1.0, 1.0]
    assert np.isnan([low[2], high[2]]).all()


def test_curves_have_a_line_and_a_band_for_each_setting(study, tmp_path):
    figure = curves(study, x="time_s", y="perplexity", by=["policy.kind"])
    [axes] = figure.axes
    lines, dots = axes.lines[::2], axes.lines[1::2]
    assert [line.get_label() for line in lines] == ["fixed", "splitft"]
    assert list(lines[1].get_ydata()) == pytest.approx([64, 40, 31])
    assert list(lines[1].get_xdata()) == [0, 1, 2]
    assert [line.get_xydata().tolist() for line in dots] == [[[4.0, pytest.approx(33)]], [[2.0, pytest.approx(31)]]]
    assert len(axes.collections) == 2
    assert axes.get_xlabel() == "time (s)"
    assert tuple(curves(study, x="time_s", y="perplexity").get_size_inches()) == (3.35, 2.4)
    for kind in ("pdf", "png", "svg"):
        files = [tmp_path / f"{number}.{kind}" for number in range(2)]
        for file in files:
            save_figure(curves(study, x="round", y="loss", by=["policy.kind"]), file)
        assert files[0].read_bytes() == files[1].read_bytes()


def test_curves_are_told_apart_by_what_a_study_varies_even_within_a_list(tmp_path):
    cases = [
        {"varied": {"fleet.clients.0.device": device}, "seed": 0, "perplexities": [9.0, 8.0]}
        for device in ("phone", "laptop")
    ]
    figure = curves(made_study(tmp_path / "s", cases), x="time_s", y="loss", by=["fleet.clients.0.device"])
    assert [line.get_label() for line in figure.axes[0].lines[::2]] == ["phone", "laptop"]


def test_a_curve_ends_at_the_mean_of_what_its_runs_came_to(tmp_path):
    # Runs of 2, 4 and 6 s end at 31, 32 and 33; cut at the first end, the others would still be above 33.
    cases = [
        {**CASES[0], "seed": seed, "perplexities": [64.0, 40.0, 31.0 + seed], "round_s": 1.0 + seed}
        for seed in range(3)
    ]
    figure = curves(made_study(tmp_path / "s", cases), x="time_s", y="perplexity")
    line, dots = figure.axes[0].lines
    assert line.get_xydata()[-1].tolist() == [6.0, pytest.approx(32.0)]
    assert list(dots.get_xdata()) == [2.0, 4.0, 6.0]


def test_rounds_are_whole_numbers(study):
    [axes] = curves(study, x="round", y="perplexity").axes
    assert [tick for tick in axes.get_xticks() if tick % 1] == []


def test_a_legend_covers_no_data_and_is_no_wider_than_the_figure(tmp_path):
    kinds = ["{kind: splitft, gamma_perf: 0.5, smoothing: 0.25}", "{kind: splitft, gamma_perf: 0.0, smoothing: 0.5}"]
    cases = [
        {"varied": {"policy.kind": kind, "server.slots": slots}, "seed": 0, "perplexities": [9.0, 8.0 - slots]}
        for kind in kinds for slots in (1, 2)
    ]  # fmt: skip
    study, by = made_study(tmp_path / "s", cases), ["policy.kind", "server.slots"]
    for figure in (curves(study, x="time_s", y="perplexity", by=by), front(study, x="loss", y="perplexity", by=by)):
        save_figure(figure, tmp_path / "f.png")
        [axes], [legend] = figure.axes, figure.legends
        assert legend.get_window_extent().y0 >= axes.bbox.y1
        assert figure.bbox.x0 <= legend.get_window_extent().x0 <= legend.get_window_extent().x1 <= figure.bbox.x1
        assert figure.get_size_inches()[0] == 3.35
        assert figure.get_size_inches()[1] > 2.4  # by the legend


def test_a_front_joins_the_settings_that_nothing_beats(study):
    figure = front(study, x="simulated_s", y="perplexity", by=["policy.kind"])
    [axes] = figure.axes
    assert list(axes.lines[0].get_ydata()) == pytest.approx([31])  # the adaptive one
    assert [dots.get_offsets().tolist() for dots in axes.collections] == [[[4.0, 33.0]], [[2.0, 31.0]]]


def test_values_of_keys_are_printed_as_the_scenario_has_them():
    table = with_text_keys(
        pd.DataFrame({"alpha": [0.1, 10.0, None], "loss": [0.1, 10.0, 2.0]}, dtype=object), ["alpha"]
    )
    lines = to_markdown(table.astype({"loss": float})).splitlines()
    assert lines[2:] == ["| 0.1 | 0.1000 |", "| 10.0 | 10.00 |", "| - | 2.000 |"]


def test_a_lucky_seed_puts_no_setting_on_the_front():
    # The second setting is beaten in every seed; only against the harder seed of the first it looks good.
    frame = pd.DataFrame(
        {
            "case": ["001", "002", "003", "004"],
            "seed": [0, 1, 0, 1],
            "policy": ["a", "a", "b", "b"],
            "simulated_s": [1.0, 9.0, 2.0, 10.0],
            "loss": [3.0, 5.0, 4.0, 6.0],
        }
    )
    settings = over_seeds(frame, ["simulated_s", "loss"])
    assert settings.to_numpy().tolist() == [["a", 2, 5.0, 4.0], ["b", 2, 6.0, 5.0]]
    assert pareto_front(settings, ["simulated_s", "loss"]).tolist() == [True, False]
    unknown = over_seeds(frame.assign(loss=[3.0, math.nan, 4.0, 6.0]), ["loss"])
    assert unknown["loss"].isna().tolist() == [True, False]  # a part of the seeds is no mean


def test_ratios_are_of_pairs_and_averaged_geometrically():
    frame = pd.DataFrame(
        {
            "case": ["001", "002", "003", "004"],
            "seed": [0, 1, 0, 1],
            "policy": ["fixed", "fixed", "splitft", "splitft"],
            "simulated_s": [1.0, 100.0, 4.0, 100.0],
        }
    )
    found = paired_ratios(frame, "simulated_s", ["policy"]).set_index("policy")
    assert list(found.loc["fixed", ["mean", "low", "high"]]) == [1.0, 1.0, 1.0]
    # Of 4 / 1 and 100 / 100: sqrt(4 * 1) = 2, whatever the scale of a seed.
    assert list(found.loc["splitft", ["mean", "low", "high"]]) == pytest.approx([2.0, 1.0, 4.0])


def test_ratios_are_refused_without_a_pair_a_positive_number_or_a_key(study):
    frame = study_frame(study)
    with pytest.raises(ValueError, match="not known, or not above 0, for every pair"):
        paired_ratios(frame.iloc[:-1], "simulated_s", ["policy.kind"])
    with pytest.raises(ValueError, match="energy_j is not known"):
        paired_ratios(frame, "energy_j", ["policy.kind"])
    with pytest.raises(ValueError, match="ratios need --by"):
        ratios(study, y="simulated_s", by=[])
    with pytest.raises(ValueError, match="--y: expected simulated_s"):
        ratios(study, y="second", by=["policy.kind"])
    with pytest.raises(ValueError, match=r"all cases have the same policy\.kind, 'fixed'"):
        paired_ratios(frame.iloc[:3], "simulated_s", ["policy.kind"])
    with pytest.raises(ValueError, match="several counterparts"):
        paired_ratios(pd.concat([frame, frame]), "simulated_s", ["policy.kind"])


def test_a_picture_of_ratios_has_a_dot_for_each_setting_but_the_first(study):
    figure = ratios(study, y="simulated_s", by=["policy.kind"])
    [axes] = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["splitft"]
    assert axes.collections[-1].get_offsets()[0][0] == pytest.approx(0.5)  # rounds of 1 s over rounds of 2 s
    assert axes.get_xlabel() == "simulated time over that of fixed"


def test_pictures_of_what_is_not_there_are_refused(study, tmp_path):
    with pytest.raises(ValueError, match="--x: expected time_s"):
        curves(study, x="seconds", y="loss")
    with pytest.raises(ValueError, match="no scenario of this study has the key 'polcy'"):
        curves(study, x="time_s", y="loss", by=["polcy"])
    with pytest.raises(ValueError, match="--y: expected simulated_s"):
        front(study, x="simulated_s", y="los")
    with pytest.raises(ValueError, match="known simulated_s and energy_j"):
        front(study, x="simulated_s", y="energy_j")
    with pytest.raises(ValueError, match="expected pdf, png, svg"):
        save_figure(curves(study, x="time_s", y="loss"), tmp_path / "x.gif")


def test_runs_are_compared_in_their_scenarios_and_then_by_pairs_of_seeds(study):
    found = compare([case.run for case in study.finished])
    assert [setting.label for setting in found.settings] == ["policy.kind=fixed", "policy.kind=splitft"]
    # seeds and what else varies alike in both tells nobody apart
    assert {key for key in found.differing if not key.startswith("policy.")} == set()
    assert found.differing["policy.kind"] == ("fixed", "splitft")
    adaptive = found.settings[1]
    time = found.difference(adaptive, "simulated_s")
    assert (time.mean, time.low, time.high, time.num_pairs) == (-2.0, -2.0, -2.0, 3)
    assert time.is_significant
    # -1, -2, -3: mean -2 with 2.48 on either side
    perplexity = found.difference(adaptive, "perplexity")
    assert perplexity.mean == pytest.approx(-2.0)
    assert perplexity.high == pytest.approx(-2.0 + 4.30265 / math.sqrt(3), rel=1e-4)
    assert not perplexity.is_significant
    assert found.difference(adaptive, "energy_j") is None


def test_compared_by_one_key_pairs_are_equal_in_all_else(tmp_path):
    rows = [
        {"varied": {"policy.kind": kind, "server.slots": slots}, "seed": seed, "perplexities": [9.0, 8.0],
         "round_s": 10.0 * slots + (kind == "splitft")}
        for kind in ("fixed", "splitft") for slots in (1, 2, 4) for seed in (0, 1)
    ]  # fmt: skip
    runs = [case.run for case in made_study(tmp_path / "s", rows).finished]
    found = compare(runs, ["policy.kind"])
    difference = found.difference(found.settings[1], "simulated_s")
    assert (difference.mean, difference.num_pairs, difference.num_seeds) == (1.0, 6, 2)
    assert difference.is_significant
    with pytest.raises(ValueError, match="no scenario of these runs has the key 'polcy'"):
        compare(runs, ["polcy"])


def test_names_and_how_a_machine_did_the_work_make_no_other_pair(tmp_path):
    scenarios = [
        {"name": "a", "label": "one", "execution": {"memo": True}, "policy": {"cut": 1}},
        {"name": "b", "label": "two", "execution": {"memo": False}, "policy": {"cut": 2}},
    ]
    runs = [made_run(tmp_path / item["name"], item, [3.0, 2.0]) for item in scenarios]
    for by in ([], ["policy.cut"]):
        found = compare(runs, by)
        assert found.difference(found.settings[1], "simulated_s").num_pairs == 1
        assert list(found.differing) == ["policy.cut"]


def test_a_place_in_a_list_is_a_key_like_others(tmp_path):
    devices = [{"fleet": {"clients": [{"device": device}, {"device": "pi"}]}} for device in ("phone", "laptop")]
    runs = [made_run(tmp_path / str(place), item, [3.0, 2.0]) for place, item in enumerate(devices)]
    found = compare(runs, ["fleet.clients.0.device"])
    assert [item.label for item in found.settings] == [
        "fleet.clients.0.device=phone", "fleet.clients.0.device=laptop",
    ]  # fmt: skip
    assert found.differing == {"fleet.clients.0.device": ("phone", "laptop")}
    assert found.difference(found.settings[1], "simulated_s").num_pairs == 1
    assert scenario_value(runs[0], "fleet.clients.2.device") is None
    assert scenario_value(runs[0], "fleet.clients.first") is None


def test_the_same_run_twice_is_refused(tmp_path):
    runs = [made_run(tmp_path / name, {}, [3.0, 2.0]) for name in ("a", "b")]
    with pytest.raises(ValueError, match="are the same run"):
        compare(runs)


def test_a_run_of_another_schema_is_refused_by_name(study):
    meta = study.finished[0].folder / "run.json"
    meta.write_text(meta.read_text().replace('"schema": 1', '"schema": 7'))
    with pytest.raises(RunFolderError, match=r"001/run\.json: written with schema 7"):
        _ = study.finished[0].run


def test_of_sections_of_another_kind_the_kind_is_told_and_of_equal_kinds_what_they_differ_in(tmp_path):
    policies = [
        {"kind": "fixed", "cut": 2},
        {"kind": "splitft", "min_cut": 1, "gamma_perf": 0.5, "smoothing": 0.5},
        {"kind": "splitft", "min_cut": 1, "gamma_perf": 0.0, "smoothing": 0.5},
    ]
    runs = [made_run(tmp_path / str(place), {"policy": it}, [64.0, 32.0]) for place, it in enumerate(policies)]
    labels = [setting.label for setting in compare(runs, ["policy"]).settings]
    assert labels == [
        "policy=fixed",
        "policy={kind: splitft, gamma_perf: 0.5}",
        "policy={kind: splitft, gamma_perf: 0.0}",
    ]
    assert [setting.label for setting in compare(runs).settings] == [
        "policy.kind=fixed",
        "policy.kind=splitft, policy.gamma_perf=0.5",
        "policy.kind=splitft, policy.gamma_perf=0.0",
    ]


def test_several_keys_make_settings_together_and_what_hinders_pairs_is_named(tmp_path):
    networks = [("wifi", "lte"), ("lan", "5g")]
    scenarios = [{"fleet": {"clients": [{"network": name} for name in pair]}} for pair in networks]
    runs = [made_run(tmp_path / str(place), item, [3.0, 2.0]) for place, item in enumerate(scenarios)]
    found = compare(runs, ["fleet.clients.0.network"])
    assert found.pairs(found.settings[1]) == []
    assert found.hindrances(found.settings[1]) == ["fleet.clients.1.network"]
    found = compare(runs, ["fleet.clients.0.network", "fleet.clients.1.network"])
    assert found.settings[1].label == "fleet.clients.0.network=lan, fleet.clients.1.network=5g"
    assert len(found.pairs(found.settings[1])) == 1
