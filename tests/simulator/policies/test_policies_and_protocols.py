"""Every protocol with every cut policy, and with every selection."""

from typing import get_args

import pytest

import splitft
from simulator.policies.deciding import POLICIES
from simulator.sections.protocol import Protocol
from tests.simulator.policies.test_policies_in_runs import made, scenario

KINDS = [member.__dataclass_fields__["kind"].default for member in get_args(get_args(Protocol)[0])]


@pytest.mark.parametrize("protocol", KINDS)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_protocol_runs_with_every_policy(protocol, policy):
    run = splitft.run(scenario(protocol={"kind": protocol}, policy={"kind": policy}, rounds=2))
    assert len(run.rounds) == 2
    assert (run.clients.status == "finished").all() or protocol == "fedbuff"  # where turns may be stale
    if protocol == "fed-lora":
        assert set(run.clients.cut) == {12}
    else:
        assert run.clients.cut.between(1, run.clients.max_cut).all()


@pytest.mark.parametrize("protocol", KINDS)
def test_every_protocol_runs_with_every_selection(protocol):
    for selection in (
        {"kind": "random", "count": 2},
        {"kind": "oort", "count": 2},
        {"kind": "over-commit", "count": 2},
    ):
        run = splitft.run(scenario(protocol={"kind": protocol}, selection=selection, rounds=2))
        finished = run.clients[run.clients.status == "finished"]
        # fedbuff counts turns: ten to a round
        assert (finished.groupby("round").size() == (10 if protocol == "fedbuff" else 2)).all()


@pytest.mark.parametrize("protocol", KINDS)
def test_in_every_protocol_nobody_finishes_after_the_deadline(protocol):
    def clients(**selection):
        run = splitft.run(scenario(protocol={"kind": protocol}, selection=selection, rounds=2))
        clients = run.clients[run.clients.status != "unfinished"]
        # fedbuff counts from the start of a client's turn, all others from that of the round
        start_s = (
            clients.start_s if protocol == "fedbuff" else clients["round"].map(run.rounds.set_index("round").start_s)
        )
        return clients.assign(took_s=clients.end_s - start_s)

    everybody = clients(kind="all")
    assert (everybody.status == "finished").all()
    assert set(everybody.client[everybody["round"] == 1]) == {0, 1, 2, 3}
    deadline_s = float(everybody.took_s.median())
    held = clients(kind="deadline", deadline_s=deadline_s)
    assert set(held.status) == {"finished", "late"}
    assert (held.took_s[held.status == "finished"] <= deadline_s * (1 + 1e-9)).all()
    assert held.took_s[held.status == "late"].tolist() == pytest.approx([deadline_s] * (held.status == "late").sum())


@pytest.mark.parametrize("protocol", sorted(set(KINDS) - {"fed-lora"}))
@pytest.mark.parametrize("cut", [1, 6, 11])
def test_no_protocol_takes_a_lone_client_longer_than_foreseen(protocol, cut):
    changes = {
        "protocol": {"kind": protocol},
        "policy": {"kind": "fixed", "cut": cut},
        "fleet": {"clients": [{"device": "rpi5-8gb", "network": "lan-1gbe"}]},
    }
    client = splitft.run(scenario(**changes, rounds=1)).clients.iloc[0]
    _, _, foresight = made(**changes)
    foreseen_s = foresight.costs(0, 1).seconds.path_s[cut - 1]
    took_s = client.end_s - client.start_s
    assert took_s <= foreseen_s * (1 + 1e-9)
    if protocol != "sfl-pipelined":  # what overlaps there is not foreseen
        assert took_s == pytest.approx(foreseen_s, rel=1e-9)


def test_a_cell_that_is_narrower_than_a_clients_link_is_foreseen():
    changes = {
        "policy": {"kind": "fixed", "cut": 1},
        "fleet": {"clients": [{"device": "rpi5-8gb", "network": "lan-1gbe"}]},
        "network": {"cells": [{"clients": 1, "uplink_mbit_per_s": 5.0, "downlink_mbit_per_s": 8.0}]},
    }
    client = splitft.run(scenario(**changes, rounds=1)).clients.iloc[0]
    _, _, foresight = made(**changes)
    assert foresight.costs(0, 1).seconds.path_s[0] == pytest.approx(client.end_s - client.start_s, rel=1e-9)
