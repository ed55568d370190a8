import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.text import Text

from analysis.cuts import cuts, spread
from analysis.frames import client_totals, round_spans, span_totals
from analysis.metrics import bytes_by_kind, critical_path, mean_client_time, working_s
from analysis.plots import bytes_sent, client_time, figure, loss_vs_bytes, loss_vs_time, picture_names, save_plots
from analysis.style import human_time
from analysis.time_by_round import time_by_round
from analysis.timeline import timeline
from simulator.records.recorder import RunWriter
from simulator.records.runs import SERVER_CLIENT, EvalRow, RoundRow, RunRecords
from tests.analysis import synthetic
from tests.analysis.synthetic import synthetic_run
from tests.analysis.test_metrics import add_client, hand_made

FIVE = ["0 rpi5-8gb", "1 jetson-orin-nano-8gb", "2 jetson-orin-nano-8gb", "3 apple-m2-16gb", "4 rtx-3060-12gb"]


@pytest.fixture(scope="module")
def run() -> RunRecords:
    return synthetic_run()


@pytest.fixture(scope="module")
def crowd() -> RunRecords:
    return synthetic_run(num_clients=1000, num_rounds=2, num_steps=1)


def texts(picture: Figure) -> list[str]:
    return [text.get_text() for text in picture.findobj(Text) if isinstance(text, Text) and text.get_text()]


def row_labels(picture: Figure) -> list[str]:
    return [label.get_text() for label in picture.axes[0].get_yticklabels()]


def legend_labels(picture: Figure) -> list[str]:
    return [text.get_text() for text in picture.legends[0].get_texts()]


def test_loss_is_drawn_against_simulated_time_with_perplexity_on_the_same_line(run: RunRecords) -> None:
    left, right = loss_vs_time(run).axes
    line = np.asarray(left.lines[0].get_xydata(), dtype=float)
    np.testing.assert_allclose(line, run.evals[["time_s", "loss"]].to_numpy())  # a minute: in seconds
    assert left.get_xlabel() == "simulated time (s)"
    assert left.get_ylabel() == "held-out loss (nats per token)"
    assert (right.get_ylabel(), right.get_yscale()) == ("perplexity (log scale)", "log")
    np.testing.assert_allclose(np.log(right.get_ylim()), left.get_ylim())
    assert left.get_title(loc="left") == "synthetic: held-out loss against simulated time"


def test_targets_are_marked_where_they_were_met_and_named_where_not(run: RunRecords) -> None:
    shown = texts(loss_vs_time(run))
    times_s = run.rounds["end_s"]
    # perplexity 27 + 33 exp(-n / 2.5) is at or below 40 from round 3 on (36.9), at or below 30 from round 6 on (29.99)
    assert f"perplexity ≤ 40 at {times_s[2]:.1f} s" in shown
    assert f"perplexity ≤ 30 at {times_s[5]:.1f} s" in shown
    assert any(text.endswith("not reached: 10") for text in shown)


def test_loss_is_drawn_against_the_bytes_of_both_directions(run: RunRecords) -> None:
    axes = loss_vs_bytes(run).axes[0]
    sent = (run.rounds["up_bytes"] + run.rounds["down_bytes"]).cumsum()
    xs = np.asarray(axes.lines[0].get_xdata(), dtype=float)
    np.testing.assert_allclose(xs, np.array([0, *sent]) / 1e6)
    assert axes.get_xlabel() == "bytes sent, up and down (MB)"


def test_clients_own_validation_is_drawn_quietly_and_said() -> None:
    picture = loss_vs_time(hand_made())  # it has one client evaluation, before training
    assert [
        np.asarray(line.get_xydata()).tolist() for line in picture.axes[0].lines if line.get_color() == "#BBBBBB"
    ] == [[[0.0, 1.0]]]
    assert any("grey: each client on its own validation data" in text for text in texts(picture))


def test_a_run_without_evaluations_has_no_loss_to_draw() -> None:
    run = synthetic_run(num_rounds=1, with_evals=False)
    for draw in (loss_vs_time, loss_vs_bytes):
        with pytest.raises(ValueError, match="no evaluations of the global adapter"):
            draw(run)


def test_a_clients_bar_is_as_long_as_its_mean_round_and_split_by_kind(run: RunRecords) -> None:
    picture = client_time(run)
    seconds = mean_client_time(client_totals(span_totals(run)))
    bars = picture.axes[0].containers
    assert len(bars) == seconds.shape[1] == 11  # kinds of a client's timeline
    # slowest first: cuts and speeds of the helper's table give this order
    order = [0, 2, 1, 3, 4]
    assert row_labels(picture) == [FIVE[client] for client in order]
    drawn = {
        str(label): [bar.get_width() for bar in container.patches]  # type: ignore[attr-defined]
        for label, container in zip(legend_labels(picture), bars, strict=True)
    }
    for before, after in pairwise(bars):  # each bar begins where the one before it ends
        ends = [bar.get_x() + bar.get_width() for bar in before.patches]  # type: ignore[attr-defined]
        assert [bar.get_x() for bar in after.patches] == pytest.approx(ends)  # type: ignore[attr-defined]
    assert drawn["client backward"] == pytest.approx(seconds.loc[order, "client_backward"])
    assert drawn["round wait"] == pytest.approx(seconds.loc[order, "round_wait"])
    assert np.sum(list(drawn.values()), axis=0) == pytest.approx(seconds.loc[order].sum(axis="columns"))
    assert picture.axes[0].get_xlabel() == "mean time per round (s)"


def test_a_clients_time_in_every_round_is_stacked_by_kind_in_a_panel_of_its_own(run: RunRecords) -> None:
    totals = client_totals(span_totals(run))
    work = totals[~totals["kind"].isin(("round_wait", "offline"))].groupby(["client", "round"])["duration_s"].sum()
    work_s = working_s(mean_client_time(totals)).sort_values(ascending=False, kind="stable")
    panels = time_by_round(run).axes
    # The highest point of a panel is its client's longest work of a round, in s; waiting for others is not drawn.
    tops = [max(area.get_paths()[0].vertices[:, 1].max() for area in axes.collections) for axes in panels]
    assert tops == pytest.approx([work[client].max() for client in work_s.index])
    assert "round wait" not in legend_labels(time_by_round(run))
    # Each has a scale of its own, and its heading says how small a part of a round that is.
    assert all(axes.get_ylim()[1] < 1.1 * top for axes, top in zip(panels, tops, strict=True))
    fastest = work_s.index[-1]
    round_s = totals[totals["client"] == fastest].groupby("round")["duration_s"].sum().mean()
    heading = f"{FIVE[fastest]}: done after {human_time(work_s[fastest])} of {human_time(round_s)}, mean over rounds"
    assert panels[-1].get_title(loc="left") == heading


def test_every_clients_rounds_are_drawn_in_a_unit_of_their_own(crowd: RunRecords) -> None:
    # Of 1,000 clients at one server the last one waits for minutes, and the first one for nobody.
    units = [axes.get_ylabel() for axes in time_by_round(crowd).axes]
    assert (units[0], units[-1]) == ("min", "ms")


def test_of_many_clients_six_have_their_rounds_drawn_and_the_picture_says_so(crowd: RunRecords) -> None:
    picture = time_by_round(crowd)
    assert len(picture.axes) == 6
    assert any(text.startswith("6 of ") for text in texts(picture))


def test_of_many_clients_thirty_are_drawn_and_the_picture_says_so(crowd: RunRecords) -> None:
    picture = client_time(crowd)
    assert len(row_labels(picture)) == 30
    assert any(text.startswith("30 of 1,000 clients, evenly spaced from the slowest") for text in texts(picture))
    gantt = timeline(crowd, 2)
    assert len(row_labels(gantt)) == 1 + 30
    assert (row_labels(gantt)[1], row_labels(gantt)[-1]) == (FIVE[0], "999 rtx-3060-12gb")
    assert any(text.startswith("30 of 1,000 clients: the critical path's, others") for text in texts(gantt))


def test_of_many_clients_those_of_the_critical_path_are_drawn_so_that_it_has_no_gap(crowd: RunRecords) -> None:
    row = crowd.rounds.iloc[-1]
    picture = timeline(crowd, 2)
    path = np.asarray(picture.axes[0].lines[0].get_xydata(), dtype=float)
    assert np.isfinite(path).all()
    assert path[[0, -1], 0] == pytest.approx([0.0, row["end_s"] - row["start_s"]])
    # The queue at the server is the path: from its first client, of number 4, along the server's row to its last.
    spans = critical_path(round_spans(crowd, 2))
    first, last = (int(client) for client in spans.loc[spans["client"] >= 0, "client"].iloc[[0, -1]])
    rows = [int(label.split()[0]) for label in row_labels(picture)[1:]]
    heights = list(dict.fromkeys(path[:, 1]))
    assert heights == pytest.approx([rows.index(first) + 1.43, 0.43, rows.index(last) + 1.43])


def test_bytes_are_drawn_by_direction_with_their_sizes(run: RunRecords) -> None:
    picture = bytes_sent(run)
    sent = bytes_by_kind(span_totals(run)).set_index("kind")["num_bytes"]
    up, down = picture.axes
    assert [bar.get_width() for bar in up.patches] == pytest.approx(  # type: ignore[attr-defined]
        sent[["upload_activations", "upload_adapter", "upload_labels"]] / 1e6
    )
    assert [label.get_text() for label in down.get_yticklabels()] == ["download gradients", "download adapter"]
    # 5 clients x 8 rounds x 4 steps x 262,144 bytes = 41.9 MB of 91.6 MB
    assert texts(picture).count("41.9 MB (45.8%)") == 2
    assert down.get_xlabel() == "bytes sent (MB)"


def test_each_client_has_a_line_near_its_cuts_and_no_line_covers_another(run: RunRecords) -> None:
    picture = cuts(run)
    axes = picture.axes[0]
    lines = np.array([patch.get_data()[0] for patch in axes.patches if isinstance(patch, StepPatch)])
    expected = run.clients.sort_values(["client", "round"])["cut"].to_numpy().reshape(5, 8)
    np.testing.assert_array_equal(lines.round(), expected)
    assert all(np.unique(column).size == 5 for column in lines.T)
    assert set(FIVE) <= set(texts(picture))
    assert axes.get_ylabel() == "cut (decoder blocks on the client)"


def test_many_clients_cuts_become_a_map_of_counts(crowd: RunRecords) -> None:
    picture = cuts(crowd)
    (mesh,) = [child for child in picture.axes[0].get_children() if isinstance(child, QuadMesh)]
    counts: np.ndarray = np.ma.filled(np.ma.asarray(mesh.get_array()), 0)
    table = crowd.clients.groupby(["cut", "round"]).size()
    # rows: cuts 1, 2, 3; columns: rounds 1, 2. All start at 2 and then leave it.
    assert counts.tolist() == [[0, table[1, 2]], [1000, 0], [0, table[3, 2]]]


def test_a_timeline_has_a_row_for_the_server_and_each_client(run: RunRecords) -> None:
    picture = timeline(run, 8)
    axes = picture.axes[0]
    assert row_labels(picture) == ["server", *FIVE]
    assert axes.get_xlabel() == "time since the round's start (s)"
    row = run.rounds.iloc[-1]
    xs = np.asarray(axes.lines[0].get_xdata(), dtype=float)  # the critical path: from the round's start to its end
    assert xs[[0, -1]] == pytest.approx([0.0, row["end_s"] - row["start_s"]])
    assert np.all(np.diff(xs) >= -1e-9)
    assert "server wait" in legend_labels(picture)
    with pytest.raises(ValueError, match="round 9 has no spans"):
        timeline(run, 9)


def test_the_critical_path_runs_under_the_bars_that_it_belongs_to_and_hides_none(run: RunRecords) -> None:
    [line] = timeline(run, 2).axes[0].lines
    path = critical_path(round_spans(run, 2))
    heights = np.asarray(line.get_ydata())[::2]  # every span has two ends
    # The server's row is 0, client k's is k + 1; bars reach 0.36 to either side.
    assert list(heights) == [pytest.approx(client + 1.43) for client in path["client"]]


def test_a_run_that_diverged_says_so_instead_of_its_last_perplexity() -> None:
    writer = RunWriter(None, {"scenario": {"name": "lost", "evaluation": {"targets": {"perplexity": []}}}})
    add_client(writer, 1, 0, 2)
    writer.end_round(RoundRow(1, 0.0, 1.0, 1, 0, 0, None))
    for number, loss in enumerate((2.0, math.nan)):
        writer.add_eval(EvalRow(number, float(number), "global", SERVER_CLIENT, loss, loss, None, 10))
    drawn = texts(loss_vs_time(writer.finish()))
    assert "diverged in round 1" in drawn
    assert not any("nan" in text for text in drawn)


def test_every_picture_of_a_run_is_written_and_readable(run: RunRecords, tmp_path: Path) -> None:
    paths = save_plots(run, tmp_path / "run" / "plots")
    assert sorted(path.name for path in paths) == [
        "bytes.png", "client_time.png", "client_time_by_round.png", "cuts.png", "loss_vs_bytes.png",
        "loss_vs_time.png", "timeline_round_008.png",
    ]  # fmt: skip
    for path in paths:
        assert matplotlib.image.imread(path).shape[1] == 1200  # 8 inches at 150 dpi


def test_pictures_of_the_smallest_run_leave_out_the_loss(tmp_path: Path) -> None:
    paths = save_plots(synthetic_run(num_clients=1, num_rounds=1, num_steps=1, with_evals=False), tmp_path)
    assert [path.stem for path in paths] == [
        "client_time", "bytes", "cuts", "client_time_by_round", "timeline_round_001",
    ]  # fmt: skip


def test_a_run_in_which_nothing_was_sent_has_no_picture_of_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACTIVATION_BYTES", "LABEL_BYTES", "ADAPTER_BYTES_PER_BLOCK"):
        monkeypatch.setattr(synthetic, name, 0)
    silent = synthetic_run(num_rounds=2)

    names = [path.stem for path in save_plots(silent, tmp_path)]

    assert names == ["loss_vs_time", "client_time", "cuts", "client_time_by_round", "timeline_round_002"]


def test_a_run_without_rounds_has_nothing_to_draw(tmp_path: Path) -> None:
    run = RunWriter(None, {"scenario": {"name": "nothing"}}).finish()
    assert save_plots(run, tmp_path / "plots") == []


def test_a_picture_is_found_by_its_name(run: RunRecords) -> None:
    title = "synthetic: cut of each client over rounds"
    assert figure(run, "cuts").axes[0].get_title(loc="left") == title
    assert figure(run, "timeline_round_003").axes[0].get_title(loc="left") == "synthetic: timeline of round 3"
    with pytest.raises(ValueError, match="no picture 'loss'; it has: loss_vs_time, loss_vs_bytes, client_time, bytes"):
        figure(run, "loss")
    with pytest.raises(ValueError, match="round 99 has no spans"):
        figure(run, "timeline_round_099")
    cost_only = synthetic_run(num_rounds=1, with_evals=False)
    with pytest.raises(ValueError, match="no picture 'loss_vs_time'; it has: client_time, bytes"):
        figure(cost_only, "loss_vs_time")


def test_no_text_is_smaller_than_nine_points_and_titles_name_the_run(run: RunRecords) -> None:
    for name in picture_names(run):
        picture = figure(run, name)
        sizes = [
            float(text.get_fontsize()) for text in picture.findobj(Text) if isinstance(text, Text) and text.get_text()
        ]
        assert min(sizes) >= 9
        assert picture.axes[0].get_title(loc="left").startswith("synthetic: ")


@settings(deadline=None)
@given(positions=st.lists(st.floats(0, 10), min_size=1, max_size=12), gap=st.floats(0.01, 2))
def test_labels_are_spread_in_order_without_moving_as_a_whole(positions: list[float], gap: float) -> None:
    placed = spread(sorted(positions), gap)
    assert np.all(np.diff(placed) >= gap - 1e-9)
    assert np.mean(placed) == pytest.approx(np.mean(positions))


def test_labels_that_do_not_touch_stay_where_they_are() -> None:
    assert spread([1.0, 2.0, 2.1], 0.5) == pytest.approx([1.0, 1.8, 2.3])  # the pair moves apart around 2.05


def test_analysis_imports_neither_torch_nor_simpy_nor_pyplot() -> None:
    code = (
        "import sys, analysis.plots, analysis.summary, simulator.records.runs;"
        "print([m for m in ('torch', 'simpy', 'transformers', 'peft', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
