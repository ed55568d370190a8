import json
import math
from dataclasses import FrozenInstanceError

import pytest

from analysis.metrics import TargetReached
from analysis.summary import Evaluation, summarise
from simulator.records.recorder import RunWriter
from simulator.records.runs import SERVER_CLIENT, ClientRow, EvalRow, RoundRow
from tests.analysis.synthetic import ACTIVATION_BYTES, LABEL_BYTES, synthetic_run
from tests.analysis.test_metrics import add_client, hand_made


def test_a_summary_holds_the_totals_of_the_run() -> None:
    summary = summarise(hand_made())
    assert (summary.name, summary.num_rounds, summary.num_clients) == ("hand-made", 2, 2)
    assert summary.simulated_s == 20.0
    assert (summary.up_bytes, summary.down_bytes) == ({"upload_activations": 200}, {"download_gradients": 70})
    assert summary.before == Evaluation(round=0, time_s=0.0, loss=1.0, perplexity=40.0)
    assert summary.after == Evaluation(round=2, time_s=20.0, loss=1.0, perplexity=18.0)
    assert summary.targets == (TargetReached(perplexity=20.0, round=1, time_s=12.0, sent_bytes=220),)
    assert summary.slowest is not None
    assert (summary.slowest.client, summary.num_cut_changes) == (1, 1)
    with pytest.raises(FrozenInstanceError):
        summary.name = "other"  # type: ignore[misc]


def test_the_best_evaluation_need_not_be_the_last() -> None:
    writer = RunWriter(None, {"scenario": {"name": "overfitted", "evaluation": {"targets": {"perplexity": []}}}})
    for number, loss in enumerate((3.0, 2.0, 2.5)):
        writer.add_eval(EvalRow(number, float(number), "global", SERVER_CLIENT, loss, math.exp(loss), None, 10))
    summary = summarise(writer.finish())
    assert [e.round for e in (summary.before, summary.best, summary.after) if e is not None] == [0, 1, 2]


def test_a_run_that_was_not_evaluated_before_training_has_nothing_before() -> None:
    writer = RunWriter(None, {"scenario": {"name": "late", "evaluation": {"targets": {"perplexity": []}}}})
    writer.add_eval(EvalRow(2, 5.0, "global", SERVER_CLIENT, 1.0, math.e, None, 10))
    summary = summarise(writer.finish())
    assert summary.before is None
    assert summary.after == Evaluation(round=2, time_s=5.0, loss=1.0, perplexity=math.e)


def test_bytes_of_a_summary_are_counts_times_sizes() -> None:
    summary = summarise(synthetic_run(num_clients=3, num_rounds=2, num_steps=4))
    steps = 3 * 2 * 4
    assert summary.up_bytes["upload_activations"] == steps * ACTIVATION_BYTES
    assert summary.up_bytes["upload_labels"] == steps * LABEL_BYTES
    assert summary.down_bytes["download_gradients"] == steps * ACTIVATION_BYTES
    assert list(summary.up_bytes) == ["upload_activations", "upload_adapter", "upload_labels"]  # largest first


def test_other_targets_replace_those_of_the_scenario() -> None:
    reached = summarise(hand_made(), targets=(40.0, 1.0)).targets
    assert [(target.perplexity, target.round) for target in reached] == [(40.0, 0), (1.0, None)]


def test_a_cost_only_run_has_no_losses() -> None:
    summary = summarise(synthetic_run(num_rounds=1, with_evals=False))
    assert (summary.before, summary.after, summary.best) == (None, None, None)
    assert [target.time_s for target in summary.targets] == [None, None, None]


def test_a_diverged_run_still_gives_valid_json() -> None:
    writer = RunWriter(None, {"scenario": {"name": "diverged", "evaluation": {"targets": {"perplexity": []}}}})
    writer.spans.add("client_forward", "client", 0, 1, 0, 0.0, 1.0)
    add_client(writer, 1, 0, 2)
    writer.end_round(RoundRow(1, 0.0, 1.0, 1, 0, 0, None))
    writer.add_eval(EvalRow(0, 0.0, "global", SERVER_CLIENT, 2.0, 7.4, None, 10))
    writer.add_eval(EvalRow(1, 1.0, "global", SERVER_CLIENT, math.nan, math.inf, None, 10))
    summary = summarise(writer.records())
    assert summary.best == summary.before
    plain = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert plain["after"] == {"round": 1, "time_s": 1.0, "loss": None, "perplexity": None}
    assert writer.finish(summary=summary.to_json()).meta["summary"] == plain


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({0: 2.0, 1: 3.0, 2: 99.9}, None),  # worse, but a loss
        ({0: 2.0, 1: 2.0, 2: math.nan}, 2),
        ({0: 2.0, 1: math.inf, 2: math.nan}, 1),
        ({0: 2.0, 2: 101.0}, 2),
    ],
)
def test_a_run_has_diverged_where_a_held_out_loss_is_none(losses, expected) -> None:
    writer = RunWriter(None, {"scenario": {"name": "diverged", "evaluation": {"targets": {"perplexity": []}}}})
    for number, loss in losses.items():
        writer.add_eval(EvalRow(number, float(number), "global", SERVER_CLIENT, loss, 1.0, None, 10))
    assert summarise(writer.finish()).diverged_round == expected


def test_a_training_loss_that_is_none_tells_before_the_next_evaluation() -> None:
    writer = RunWriter(None, {"scenario": {"name": "diverged", "evaluation": {"targets": {"perplexity": []}}}})
    for number, loss in ((1, 2.0), (2, math.nan), (3, 2.0)):
        writer.add_client(
            ClientRow(number, 0, "a", "b", 2, 2, 7, "fixed", 0, 4, 100, loss, None, 0.0, 1.0, "finished", 0),
        )
    writer.add_eval(EvalRow(0, 0.0, "global", SERVER_CLIENT, 2.0, 1.0, None, 10))
    assert summarise(writer.finish()).diverged_round == 2


def test_who_does_not_finish_or_does_not_learn_has_not_diverged() -> None:
    assert summarise(synthetic_run(num_rounds=1, with_evals=False)).diverged_round is None
    writer = RunWriter(None, {"scenario": {"name": "late", "evaluation": {"targets": {"perplexity": []}}}})
    writer.add_client(ClientRow(1, 0, "a", "b", 2, 2, 7, "fixed", 0, 4, 100, None, None, 0.0, 1.0, "late", 0))
    writer.add_eval(EvalRow(0, 0.0, "global", SERVER_CLIENT, 2.0, 1.0, None, 10))
    assert summarise(writer.finish()).diverged_round is None


def test_a_run_that_ended_before_its_first_round_has_a_summary() -> None:
    scenario = {"name": "nothing", "evaluation": {"targets": {"perplexity": []}}}
    summary = summarise(RunWriter(None, {"scenario": scenario}).finish())
    assert (summary.num_rounds, summary.simulated_s, summary.slowest, summary.up_bytes) == (0, 0.0, None, {})
