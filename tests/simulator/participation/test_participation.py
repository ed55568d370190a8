"""Whole runs of the clock with clients that come, go and fail: who is asked, what is recorded, how a run ends."""

import numpy as np
import pytest

import splitft
from devices.problems import InputError
from simulator.scenario import Scenario
from tests.small_run import SMALL

RPI = {"device": "rpi5-8gb", "network": "lan-1gbe"}


@pytest.fixture
def run(tmp_path):
    """Return a function that runs 4 equal clients without learning; `trace` holds rows of a file of sessions."""

    def run(trace=None, **sections):
        if trace is not None:
            (tmp_path / "sessions.csv").write_text("client,start_s,end_s\n" + "\n".join(trace))
            sections["availability"] = {"kind": "trace", "file": "sessions.csv"}
        mapping = {**SMALL, "fleet": {"clients": [{**RPI, "count": 4}]}, "execution": {"trainer": "cost-only"}}
        return splitft.run(Scenario.from_mapping({**mapping, **sections}, folder=tmp_path))

    return run


def asked(done):
    """Return who took part, by round."""
    return {number: sorted(rows.client) for number, rows in done.clients.groupby("round")}


def test_rounds_wait_for_clients_and_ask_only_those_who_are_there(run):
    # Nobody until 100 s; then 0 and 1 for a long time; 3 comes during the first round, which takes seconds.
    done = run(["0,100,1e6", "1,100,1e6", "3,100.001,1e6"])
    assert done.rounds.start_s.iloc[0] == 100.0
    assert done.rounds.start_s.iloc[1] == done.rounds.end_s.iloc[0]
    assert asked(done) == {1: [0, 1], 2: [0, 1, 3]}
    assert set(done.clients.status) == {"finished"}


def test_a_round_waits_until_as_many_are_there_as_it_asks_for(run):
    done = run(["0,0,1e6", "1,500,1e6", "2,700,1e6"], selection={"kind": "all", "min_clients": 2})
    assert done.rounds.start_s.iloc[0] == 500.0
    assert asked(done)[1] == [0, 1]


def test_a_client_that_goes_within_a_round_is_recorded_as_dropped_and_charged(run):
    whole = run()
    assert set(whole.clients.status) == {"finished"}
    middle_s = float(whole.rounds.end_s.iloc[0]) / 2
    done = run([f"0,0,{middle_s!r}", *(f"{k},0,1e6" for k in (1, 2, 3))])
    first = done.clients[done.clients["round"] == 1].set_index("client")
    assert first.status.to_dict() == {0: "dropped", 1: "finished", 2: "finished", 3: "finished"}
    assert first.loc[0, "end_s"] == middle_s
    assert first.loc[0, "num_steps"] < first.loc[1, "num_steps"]
    sent = done.spans[done.spans["round"] == 1].groupby("client").num_bytes.sum()
    assert 0 < sent[0] < sent[1]
    assert asked(done)[2] == [1, 2, 3]


def test_a_run_whose_clients_are_all_gone_ends_after_its_last_round_and_says_so(run):
    done = run(["0,0,0.1", "1,0,1e6", "2,0,0.1"], rounds=3, selection={"kind": "all", "min_clients": 2})
    assert asked(done) == {1: [0, 1, 2]}
    reason = done.records.meta["ended_early"]
    assert reason.startswith("round 2 could not start: after ")
    assert reason.endswith("there are never 2 client(s) that can be reached")


def test_a_run_that_cannot_begin_is_refused(run):
    with pytest.raises(InputError, match=r"availability: round 1 could not start: after 0 simulated seconds"):
        run(["0,0,1e6"], selection={"kind": "all", "min_clients": 2})
    with pytest.raises(InputError, match=r"could not start before stop_at_s \(50.0\)"):
        run(["0,100,1e6"], stop_at_s=50)


def test_no_round_starts_at_or_after_the_time_to_stop_even_if_it_would_have_to_wait(run):
    done = run(["0,0,1", "0,1000,1e6"], rounds=100, stop_at_s=900)
    assert done.rounds.start_s.max() < 1
    assert done.records.meta["ended_early"] is None


def test_a_run_without_faults_is_the_same_whichever_way_nobody_is_missing(run):
    always = run(availability={"kind": "always-on"})
    assert always.spans.equals(run(availability={"kind": "bernoulli", "available_frac": 1.0}).spans)
    assert always.spans.equals(run([f"{k},0,1e9" for k in range(4)]).spans)
    assert always.spans.equals(run(selection={"kind": "random", "fraction": 1.0}).spans)
    assert always.spans.equals(run(selection={"kind": "deadline", "deadline_s": 1e6}).spans)
    assert always.spans.equals(run(selection={"kind": "over-commit", "count": 4}).spans)
    assert "ended_early" in always.records.meta


def test_who_is_there_changes_nobody_elses_work(run):
    """A client's batches, and so the bytes of its steps, are those of its round, whoever else takes part."""
    everybody, some = run(rounds=4), run(rounds=4, selection={"kind": "random", "count": 2})
    keys = ["round", "client", "step", "kind"]
    uploads = [done.spans[done.spans.kind == "upload_activations"] for done in (everybody, some)]
    uploads = [sent.set_index(keys).num_bytes for sent in uploads]
    assert len(uploads[1]) == len(uploads[0]) / 2
    assert (uploads[0][uploads[1].index] == uploads[1]).all()


def test_a_cohort_is_drawn_anew_for_every_round_and_by_the_seed(run):
    picks = asked(run(rounds=8, selection={"kind": "random", "count": 1}))
    assert len({tuple(clients) for clients in picks.values()}) > 1
    assert asked(run(rounds=8, selection={"kind": "random", "count": 1})) == picks
    assert asked(run(rounds=8, seed=1, selection={"kind": "random", "count": 1})) != picks


def test_a_policy_hears_only_of_those_who_finished_and_the_others_keep_their_cuts(run):
    done = run(
        rounds=6,
        policy={"kind": "splitft", "initial_cut": 2},
        availability={"kind": "always-on", "failure_frac": 0.5},
        fleet={"clients": [RPI, {"device": "rtx-3060-12gb", "network": "lan-1gbe"}]},
    )
    cuts = done.clients.sort_values(["client", "round"])
    after = cuts.groupby("client").cut.shift(-1)
    dropped = cuts[(cuts.status == "dropped") & after.notna()]
    assert len(dropped) > 0
    assert (dropped.cut == after[dropped.index]).all()
    assert cuts.cut.nunique() > 1  # the policy was at work


def test_a_deadline_that_nobody_meets_costs_its_time_and_trains_nothing(run):
    done = run(selection={"kind": "deadline", "deadline_s": 0.125})
    assert done.rounds.end_s.tolist() == [0.125, 0.25]
    assert set(done.clients.status) == {"late"}
    assert "aggregate" not in set(done.spans.kind)
    assert (done.rounds.up_bytes + done.rounds.down_bytes > 0).all()


def test_an_outage_delays_the_next_round(run):
    done = run(server={"outages": [{"start_s": 0.0, "end_s": 30.0}]})
    assert done.rounds.start_s.iloc[0] == 30.0


def test_the_server_is_charged_for_what_it_ends_for_a_client_that_has_gone(run):
    """With a server as slow as this the first client leaves it at work, into the next round."""
    done = run(
        rounds=2,
        server={"device": "rpi5-8gb", "network": "lan-1gbe"},
        selection={"kind": "over-commit", "count": 3, "factor": 1.3},
    )
    rest = done.spans[(done.spans.client == -1) & (done.spans.kind == "server_step")]
    assert len(rest) > 0
    served = done.spans[(done.spans.actor == "server") & (done.spans.kind != "aggregate")].sort_values("start_s")
    assert (np.diff(served.start_s) >= 0).all()
    assert (served.start_s.to_numpy()[1:] >= served.end_s.to_numpy()[:-1]).all()


def test_a_mixture_brings_its_own_availability_and_the_seed_repeats_it(run):
    phones = {"fleet": {"mixture": "phones-2024", "count": 20}, "workload": {"partition": {"kind": "iid"}}}
    done = run(rounds=6, **phones)
    assert done.spans.equals(run(rounds=6, **phones).spans)
    assert done.rounds.num_clients.mean() < 12  # a client is there 24 % of the time
    elsewhere = run(rounds=6, seed={"fleet": 1}, **phones)
    assert not done.clients.client.equals(elsewhere.clients.client)
