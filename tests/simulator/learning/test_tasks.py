"""From settled rounds to tasks: what each rule of aggregation needs of them, and what users are told. Without torch."""

from types import SimpleNamespace

import numpy as np
import pytest

from simulator.learning.recipe import recipe_of
from simulator.learning.tasks import LearningData, TaskLearning
from simulator.protocols.rounds import ClientPlan
from simulator.setting import resolve
from simulator.verdict import can_cut_affect_learning
from tests.small_run import SMALL, small
from tests.workloads.test_tasks import RECIPE
from workloads.aggregators import AGGREGATORS, LEAVE_DELTA
from workloads.batches import Batch
from workloads.codec_bytes import Codec
from workloads.tasks import EvalResult, TrainResult

BLOCKS = 3


def batch(first):
    ids = np.array([[first, 6, 7]], np.int32)
    return Batch(ids=ids, labels=ids.copy(), lengths=np.array([3], np.int32))


class Recorder:
    """A trainer that only takes notes."""

    def __init__(self):
        self.trained, self.aggregated, self.evaluated, self.live = [], [], [], []

    def initial(self, task):
        return task.key

    def train(self, tasks, spent=()):
        self.trained += tasks
        return [TrainResult(key=task.key, losses=(1.0,), num_tokens=3) for task in tasks]

    def aggregate(self, task):
        self.aggregated.append(task)
        return task.key

    def evaluate(self, tasks):
        self.evaluated += tasks
        return [EvalResult(key=task.key, loss=1.0, token_accuracy=0.5, num_tokens=2) for task in tasks]

    def release(self, live):
        self.live = list(live)


def two_rounds(aggregator, recipe=RECIPE):
    """Let two clients of cuts 1 and 2 train, measure themselves and train again; return the recorder and learning."""
    trainer = Recorder()
    data = LearningData(
        training=lambda client, number: (batch(10 * client + number),),
        validation=lambda client: (batch(client),),
        held_out=(batch(99),),
        num_samples=np.array([30, 10]),
    )
    learning = TaskLearning(trainer, recipe, data, lambda _cut: (16,) * BLOCKS, aggregator)
    for number in (1, 2):
        plans = [ClientPlan(client=client, cut=client + 1, steps=()) for client in (0, 1)]
        learning.train(SimpleNamespace(round=number, finished=[SimpleNamespace(plan=plan) for plan in plans]))
        learning.validate([0, 1])
    return trainer, learning


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_weights_are_shares_of_samples_and_rounds_follow_each_other(aggregator):
    trainer, _ = two_rounds(aggregator)
    first, second = trainer.aggregated
    assert first.weights == (0.75, 0.25)
    assert first.rule == aggregator
    assert second.base == first.key
    assert {task.adapter for task in trainer.trained[2:]} == {first.key}


def test_flora_restarts_from_another_seed_each_round_and_no_other_rule_does():
    for aggregator in AGGREGATORS:
        seeds = [task.restart_seed for task in two_rounds(aggregator)[0].aggregated]
        if aggregator == "flora":
            assert len({*seeds, RECIPE.adapter_seed}) == 3
            assert seeds == [task.restart_seed for task in two_rounds(aggregator)[0].aggregated]
        else:
            assert seeds == [None, None]


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_clients_measure_themselves_at_their_cuts_on_the_base_they_trained_on(aggregator):
    trainer, _ = two_rounds(aggregator)
    latest = trainer.evaluated[2:]
    starts = trainer.aggregated[0].key if aggregator in LEAVE_DELTA else None
    assert [(task.cut, task.start) for task in latest] == [(1, starts), (2, starts)]
    assert [task.adapter for task in latest] == [task.key for task in trainer.trained[2:]]
    assert all(key in trainer.live for task in latest for key in task.inputs)


def test_the_global_model_is_measured_whole():
    trainer, learning = two_rounds("flora")
    learning.evaluate()
    task = trainer.evaluated[-1]
    assert (task.cut, task.start, task.adapter) == (None, None, trainer.aggregated[-1].key)


def protocol(aggregator):
    return small(protocol={"aggregator": aggregator})


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_a_rule_decides_on_moments_and_on_what_is_trained(aggregator):
    setting = resolve(protocol(aggregator))
    recipe = recipe_of(setting, "here")
    forgets = aggregator in ("flora", "flexlora")
    assert recipe.optimizer.state == ("reset" if forgets else "kept")
    assert recipe.trains_a == (aggregator != "ffa")
    told = [note for note in setting.notes if "moments of the optimizer start afresh" in note]
    assert bool(told) == forgets


def workload(**changes):
    lora = {"cut_rank_sides": "none"}
    return resolve(small(workload={**SMALL["workload"], "lora": lora, **changes}))


def test_codecs_and_dormant_rows_reach_the_recipe():
    setting = workload(
        codec={"activations": {"kind": "topk", "frac": 0.2}, "gradients": "int8"},
        lora={"dormant": "frozen"},
    )
    recipe = recipe_of(setting, "here")
    assert recipe.activation_codec == Codec(kind="topk", frac=0.2)
    assert recipe.gradient_codec == Codec(kind="int8")
    assert recipe.dormant == "frozen"


def test_users_are_told_where_a_lossy_codec_makes_the_cut_matter():
    assert can_cut_affect_learning(workload()) == "no: it changes time, memory and energy only"
    told = can_cut_affect_learning(workload(codec={"activations": "int4", "gradients": {"kind": "topk", "frac": 0.5}}))
    assert told == "yes: activations pass the cut as int4; gradients pass the cut as topk 0.5"
