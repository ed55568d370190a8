"""What a protocol has a use for of the server."""

import pytest

import splitft
from simulator.caveats import unused_server
from simulator.serving import serving
from simulator.setting import resolve
from tests.simulator.policies.test_policies_in_runs import scenario
from tests.small_run import SMALL, small

SHARED = ("sl", "sfl-v2")


def served(kind, **server):
    return scenario(protocol={"kind": kind}, server=server)


@pytest.mark.parametrize("kind", SHARED)
def test_one_adapter_is_stepped_by_one_accelerator(kind):
    used = serving(served(kind, slots=4, discipline="processor-sharing"))
    assert (used.slots, used.discipline) == (1, "fifo")
    assert serving(served(kind, slots=4, discipline="priority")).discipline == "priority"


@pytest.mark.parametrize("kind", ["sfl-v1", "local-loss", "u-shape", "fedbuff"])
def test_others_use_the_server_as_it_is(kind):
    stated = served(kind, slots=4, discipline="processor-sharing")
    assert serving(stated) == stated.server


def test_micro_batches_are_served_by_their_lag_unless_they_share():
    assert serving(served("sfl-pipelined")).discipline == "priority"
    assert serving(served("sfl-pipelined", discipline="processor-sharing")).discipline == "processor-sharing"


def test_where_nobody_waits_for_a_step_none_is_more_urgent_and_that_is_said():
    assert serving(served("local-loss", discipline="priority")).discipline == "fifo"
    told = "protocol local-loss: clients wait for no step of the server, which takes them in order of arrival"
    assert told in resolve(served("local-loss", discipline="priority")).notes
    assert unused_server(served("local-loss")) is None


@pytest.mark.parametrize("kind", SHARED)
def test_what_lies_idle_is_said(kind):
    notes = resolve(served(kind, slots=4, discipline="processor-sharing")).notes
    expected = f"protocol {kind}: the server steps one adapter, step after step: 3 of 4 slots lie idle; "
    assert f"{expected}steps do not share a slot" in notes
    assert unused_server(served(kind)) is None
    assert unused_server(served("sfl-v1", slots=4)) is None


@pytest.mark.parametrize("kind", SHARED)
@pytest.mark.parametrize("server", [{"slots": 4}, {"slots": 4, "discipline": "processor-sharing"}])
def test_more_accelerators_change_nothing_where_there_is_one_adapter(kind, server):
    # clients that fail while the server is at work for them included
    faults = {"availability": {"kind": "always-on", "failure_frac": 0.5}, "rounds": 3}
    weak = {"device": "rpi5-8gb"}
    one, more = (splitft.run(scenario(protocol={"kind": kind}, server={**weak, **of}, **faults)) for of in ({}, server))
    assert one.records.meta["spans_sha256"] == more.records.meta["spans_sha256"]
    assert set(one.clients.status) == {"finished", "dropped"}


@pytest.mark.parametrize("kind", SHARED)
def test_what_the_server_steps_for_who_fails_is_learned_in_its_order(kind):
    # A server as weak as its clients is mostly at work for somebody; most clients fail at a part of their round.
    run = splitft.run(
        small(
            protocol={"kind": kind},
            server={"device": "rpi5-8gb", "network": "lan-10gbe", "slots": 4},
            policy={"kind": "random"},
            availability={"kind": "always-on", "failure_frac": 0.8},
            workload={**SMALL["workload"], "local_steps": 2},
            rounds=3,
            seed=7,
        )
    )
    assert (run.clients.status == "dropped").sum() > 3
    assert run.evals.loss.iloc[-1] < run.evals.loss.iloc[0]
