"""The table that a run closes with."""

import dataclasses
import io
import math
from contextlib import nullcontext

import pytest
from rich.console import Console

from analysis.summary import summarise
from simulator.learning.remembering import WorkCounts
from simulator.learning.tasks import CostOnly
from simulator.setting import resolve
from splitft.api import run_setting
from splitft.closing import closing_table
from tests.small_run import small
from workloads.tasks import EvalResult, TrainResult

# The tiny model: hidden size 160, feed-forward 432, vocabulary 4096, head tied to the embedding, 8 blocks.
EMBEDDING = 4096 * 160
BLOCK = 4 * 160 * 160 + 3 * 160 * 432 + 2 * 160  # attention, MLP, two norms
NORM = 160
ROW = 4 * (160 + 160)  # a rank's worth of A and B over q, k, v and the output projection


def closing_rows(**changes):
    setting = resolve(small(**{"rounds": 1, "execution": {"trainer": "cost-only"}, **changes}))
    page = io.StringIO()
    Console(file=page, width=200).print(closing_table(run_setting(setting, None), setting))
    cells = [line.split("  ", 1) for line in page.getvalue().splitlines() if line.strip()]
    return {name.strip(): rest[0].strip() for name, *rest in cells if rest}


def test_only_a_run_that_trains_nobody_says_that_nothing_was_learned():
    assert closing_rows()["perplexity"] == "nothing was learned: cost-only"


def test_where_nothing_was_sent_it_says_so(monkeypatch):
    monkeypatch.setattr(
        "splitft.finished.summarise", lambda records: dataclasses.replace(summarise(records), up_bytes={})
    )
    rows = closing_rows()
    assert rows["sent up"] == "nothing"
    assert rows["sent down"] != "nothing"


@pytest.mark.torch
def test_a_run_that_trains_says_what_it_has_learned():
    rows = closing_rows(execution={"trainer": "torch", "memo": False})
    assert "perplexity" not in rows
    assert "->" in rows["held-out perplexity"]


def test_one_round_is_no_rounds():
    rows = closing_rows()
    assert rows["simulated time"].endswith(" for 1 round")
    assert "last in 1 of 1 round: " in rows["slowest client"]


def test_it_says_how_many_parameters_each_side_holds():
    rows = closing_rows()
    assert rows["base parameters"] == f"{EMBEDDING + 8 * BLOCK + NORM:,} in 8 blocks"
    # Cut 2, rank 16, but 8 in the second and the third block. A tied head is on both sides of the cut.
    client, server = EMBEDDING + 2 * BLOCK, 6 * BLOCK + NORM + EMBEDDING
    assert rows["client parameters"] == f"at cut 2 {client:,} frozen and {(16 + 8) * ROW:,} trained"
    assert rows["server parameters"] == f"at cut 2 {server:,} frozen and {(8 + 5 * 16) * ROW:,} trained"


@pytest.mark.parametrize(("kind", "server_has_head"), [("u-shape", False), ("local-loss", True)])
def test_a_head_counts_on_the_sides_that_have_it(kind, server_has_head):
    rows = closing_rows(protocol={"kind": kind})
    # The head's matrix is that of the embeddings, which the client has anyhow.
    client, server = EMBEDDING + 2 * BLOCK + NORM, 6 * BLOCK + server_has_head * (NORM + EMBEDDING)
    assert rows["client parameters"].startswith(f"at cut 2 {client:,} frozen and ")
    assert rows["server parameters"].startswith(f"at cut 2 {server:,} frozen and ")


def test_where_clients_have_different_cuts_it_says_so_for_the_shallowest_and_the_deepest():
    rows = closing_rows(policy={"kind": "per-device", "default": 2, "cuts": {"rpi5-8gb": 1, "rtx-3060-12gb": 4}})
    assert rows["client parameters"].split("; ") == [
        f"at cut 1 {EMBEDDING + BLOCK:,} frozen and {8 * ROW:,} trained",
        f"at cut 4 {EMBEDDING + 4 * BLOCK:,} frozen and {(3 * 16 + 8) * ROW:,} trained",
    ]


def test_it_says_whose_work_did_not_count():
    assert "did not count" not in closing_rows()
    rows = closing_rows(selection={"kind": "deadline", "deadline_s": 0.001})
    assert rows["did not count"] == "3 late, of 3 times a client took part"


def test_it_says_that_a_performance_term_is_0_and_how_much_of_computing_is_assumed():
    rows = closing_rows(policy={"kind": "splitft"})
    assert rows["performance term"].startswith("0, whatever gamma_perf (0.5)")
    assert "of the server's" in rows["assumed overhead of blocks"]
    assert "performance term" not in closing_rows()


@pytest.mark.parametrize("loss", [1e4, math.nan])
def test_a_run_that_diverged_ends_and_says_so(loss, monkeypatch):
    class Diverging(CostOnly):
        num_evaluations = 0

        def evaluate(self):
            self.num_evaluations += 1
            now = 5.0 if self.num_evaluations == 1 else loss
            return EvalResult(key="x", loss=now, token_accuracy=0.1, num_tokens=10)

        def train(self, log):
            return {c.plan.client: TrainResult(key="x", losses=(6.0,), num_tokens=10) for c in log.clients}

    monkeypatch.setattr("splitft.api.learning_of", lambda *_: nullcontext((Diverging(), WorkCounts())))
    rows = closing_rows()
    assert rows["diverged"].startswith("in round 1:")
    assert rows["held-out loss"] == f"5.0000 -> {loss:.4f}"
    assert "%" not in rows["held-out perplexity"]


def test_a_run_that_unlearned_says_so(monkeypatch):
    class Unlearning(CostOnly):
        losses = iter((1.0, 2.0))

        def evaluate(self):
            return EvalResult(key="x", loss=next(self.losses), token_accuracy=0.1, num_tokens=10)

        def train(self, log):
            return {c.plan.client: TrainResult(key="x", losses=(6.0,), num_tokens=10) for c in log.clients}

    monkeypatch.setattr("splitft.api.learning_of", lambda *_: nullcontext((Unlearning(), WorkCounts())))
    rows = closing_rows()
    assert "diverged" not in rows
    # perplexity is exp(loss): one more nat is e times as much, 171.8 % more
    assert rows["held-out perplexity"] == "2.72 -> 7.39 (+171.8%): worse than before training"


def test_it_says_why_a_run_ended_early(tmp_path):
    (tmp_path / "sessions.csv").write_text("client,start_s,end_s\n0,0,0.001\n")
    trace = {"kind": "trace", "file": str(tmp_path / "sessions.csv")}
    rows = closing_rows(rounds=2, availability=trace)
    assert rows["did not count"] == "1 dropped, of 1 time a client took part"
    assert rows["ended early"].startswith("round 2 could not start: after 0.001 simulated seconds")


def test_oort_goes_by_durations_where_nothing_is_learned_and_that_is_said_once():
    assert "selection" not in closing_rows()
    rows = closing_rows(selection={"kind": "oort", "count": 2})
    assert rows["selection"] == "oort goes by durations alone: a cost-only run does not know how well clients learn"
