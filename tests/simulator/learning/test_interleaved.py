"""From the server's order of steps to tasks: who is a member, what counts, and what the next round goes on with."""

import dataclasses

import numpy as np
import pytest

from simulator.learning.interleaved import InterleavedLearning
from simulator.learning.tasks import LearningData
from simulator.protocols.rounds import ClientLog, ClientPlan, RoundLog
from simulator.setting import resolve
from simulator.verdict import can_cut_affect_learning
from tests.simulator.clock.test_discarded_work import CONSTANT, ListingTrainer
from tests.small_run import SMALL, small
from tests.workloads.test_tasks import batch
from workloads.aggregators import RELAY


def learning_of(trainer, rule, ranks=lambda _cut: (16, 8)):
    data = LearningData(
        training=lambda client, number: tuple(batch(100 * client + 10 * number + step) for step in range(2)),
        validation=lambda client: (batch(client),),
        held_out=(batch(99),),
        num_samples=np.array([10, 20, 30]),
    )
    recipe = dataclasses.replace(CONSTANT, learning_rule=rule)
    return InterleavedLearning(trainer, recipe, data, ranks, RELAY if rule == "sl" else "segment")


def settled(number, statuses, order, cuts=(1, 1, 1)):
    clients = tuple(
        ClientLog(
            plan=ClientPlan(client=client, cut=cuts[client], steps=()), start_s=0.0, end_s=1.0,
            seconds={}, num_bytes={}, num_steps=2, status=status,
        )
        for client, status in enumerate(statuses)
    )  # fmt: skip
    return RoundLog(round=number, start_s=0.0, end_s=1.0, clients=clients, order=order)


ALL = ("finished",) * 3
MIXED = ((0, 1), (2, 1), (1, 1), (2, 2), (0, 2), (1, 2))


def test_the_order_of_the_clock_is_that_of_the_tasks():
    trainer = ListingTrainer()
    results = learning_of(trainer, "sfl-v2").train(settled(1, ALL, MIXED))
    assert list(results) == [0, 1, 2]
    interleaving = trainer.trained[0].interleaving
    assert interleaving.order == ((0, 0), (2, 0), (1, 0), (2, 1), (0, 1), (1, 1))
    assert (interleaving.relayed, interleaving.server) == (False, None)
    (task,) = trainer.aggregated
    assert task.weights == pytest.approx((1 / 6, 2 / 6, 3 / 6))


def test_the_next_round_goes_on_with_the_servers_moments_of_the_last_to_be_served():
    trainer = ListingTrainer()
    learning = learning_of(trainer, "sfl-v2")
    first = learning.train(settled(1, ALL, MIXED))
    learning.train(settled(2, ALL, MIXED))
    assert {task.interleaving.server for task in trainer.trained[3:]} == {first[1].key}
    assert [task.moments for task in trainer.trained[3:]] == [first[client].key for client in range(3)]


def test_of_a_dropped_client_the_served_steps_are_members_and_nothing_else_is_kept():
    trainer = ListingTrainer()
    learning = learning_of(trainer, "sfl-v2")
    # client 0 was served once and dropped, client 1 was never served
    results = learning.train(settled(1, ("dropped", "dropped", "finished"), ((0, 1), (2, 1), (2, 2))))
    assert list(results) == [2]
    assert [len(task.batches) for task in trainer.trained] == [1, 2]
    assert trainer.trained[0].interleaving.hands_in == (False, True)
    assert trainer.aggregated[0].updates == (results[2].key,)
    learning.train(settled(2, ALL, MIXED))
    assert [task.moments for task in trainer.trained[2:]] == [None, None, results[2].key]
    assert [task.first_step for task in trainer.trained[2:]] == [0, 0, 2]


def test_of_the_one_server_adapter_every_row_counts_that_anybody_has_trained():
    trainer = ListingTrainer()
    # 16 rows, 8 in the blocks beside the cut. Block 3 is the server's for clients 0 and 1, block 4 for all.
    ranks = {1: (8, 8, 16, 16), 2: (16, 8, 8, 16), 3: (16, 16, 8, 8)}.__getitem__
    learning = learning_of(trainer, "sfl-v2", ranks)
    learning.train(settled(1, ("dropped", "finished", "finished"), MIXED, cuts=(1, 2, 3)))
    assert [task.ranks for task in trainer.trained] == [(8, 8, 16, 16), (16, 8, 8, 16), (16, 16, 8, 8)]
    # In block 3 client 0 has trained 16 rows on the server, which are a part of client 1's whole adapter, too.
    assert trainer.aggregated[0].rows == ((16, 8, 16, 16), (16, 16, 8, 16))


def test_if_nobody_finishes_the_servers_part_is_what_it_is():
    trainer = ListingTrainer()
    learning = learning_of(trainer, "sfl-v2")
    assert learning.train(settled(1, ("dropped",) * 3, ((1, 1), (0, 1)))) == {}
    (task,) = trainer.aggregated
    assert (task.rule, task.updates) == (RELAY, (trainer.trained[0].key,))  # client 0 was served last
    assert learning.train(settled(2, ("dropped",) * 3, ())) == {}
    assert len(trainer.aggregated) == 1  # nobody was served: everything stays as it is


def test_a_relayed_adapter_is_the_last_ones():
    trainer = ListingTrainer()
    order = ((0, 1), (0, 2), (1, 1), (2, 1), (2, 2))
    results = learning_of(trainer, "sl").train(settled(1, ("finished", "late", "finished"), order))
    assert trainer.trained[0].interleaving.relayed
    (task,) = trainer.aggregated
    assert (task.rule, task.updates) == (RELAY, (results[2].key,))


@pytest.mark.parametrize("kind", ["sl", "sfl-v2"])
def test_one_adapter_for_all_is_said_and_takes_the_memory_of_one(kind):
    workload = {**SMALL["workload"], "lora": {"cut_rank_sides": "none"}}
    shared, copies = (resolve(small(protocol={"kind": k}, workload=workload)) for k in (kind, "sfl-v1"))
    assert can_cut_affect_learning(copies).startswith("no")
    told = "yes: what is on the server has one adapter and one optimizer for all clients"
    assert can_cut_affect_learning(shared) == told
    assert shared.memory.server([2, 2, 2], steps_at_once=1) == copies.memory.server([2], steps_at_once=1)
