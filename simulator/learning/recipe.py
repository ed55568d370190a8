"""From a setting to what the trainer needs: the recipe of all tasks, and the data they are made of."""

from collections.abc import Mapping

from simulator.draws import integer
from simulator.learning.buffered import BufferedLearning
from simulator.learning.interleaved import InterleavedLearning
from simulator.learning.tasks import LearningData, TaskLearning
from simulator.learning.trainer import Trainer
from simulator.setting import Setting
from workloads.aggregators import FORGET_MOMENTS
from workloads.codec_bytes import FP32
from workloads.executors import ExecutorName, pick_executor
from workloads.grouping import max_group_tokens
from workloads.machine import device_name
from workloads.tasks import RULES_ONE_BY_ONE, OptimizerSpec, Recipe

LEARNS_AS = {"sfl-pipelined": "sfl-v1", "fed-lora": "sfl-v1", "fedbuff": "sfl-v1"}
"""Protocols whose clients learn what those of another one do; without a split, with every block on the client."""

LEARNINGS: Mapping[str, type[TaskLearning]] = {
    "sl": InterleavedLearning,
    "sfl-v2": InterleavedLearning,
    "fedbuff": BufferedLearning,
}
"""Who makes tasks of a settled round, where that is not `TaskLearning`."""

EVALUATION_BATCH_SIZE = 16  # samples; an experimenter's convenience, which changes no simulated time


def recipe_of(setting: Setting, numerics: str) -> Recipe:
    """Return what all tasks of a run share; `numerics` names the machine that will execute them."""
    scenario, workload = setting.scenario, setting.scenario.workload
    optimizer = workload.optimizer
    return Recipe(
        model_digest=setting.files.model_digest,
        tokenizer_digest=setting.files.tokenizer_digest,
        dtype=workload.dtype,
        targets=tuple(linear.name for linear in setting.lora.targets),
        rank=workload.lora.rank,
        alpha=workload.lora.alpha,
        adapter_seed=integer(scenario.seed.training, "adapter"),
        optimizer=OptimizerSpec(
            kind=optimizer.kind,
            learning_rate=optimizer.learning_rate,
            betas=optimizer.betas,
            eps=optimizer.eps,
            weight_decay=optimizer.weight_decay,
            schedule=optimizer.schedule,
            total_steps=None if optimizer.schedule == "constant" else scenario.rounds * workload.local_steps,
            state="reset" if scenario.protocol.aggregator in FORGET_MOMENTS else optimizer.state,
            max_grad_norm=optimizer.max_grad_norm,
        ),
        dropout=workload.dropout,
        activation_codec=workload.codec.up if setting.is_split else FP32,
        gradient_codec=workload.codec.down if setting.is_split else FP32,
        learning_rule=LEARNS_AS.get(scenario.protocol.kind, scenario.protocol.kind),
        numerics=numerics,
        dormant=setting.lora.dormant,
        trains_a=setting.lora.trains_a,
    )


def executor_of(setting: Setting) -> ExecutorName:
    """Return how the clients of a round are trained.

    Raises:
        ValueError: the device that the scenario names is not here.
    """
    execution, workload = setting.scenario.execution, setting.scenario.workload
    return pick_executor(
        execution.executor,
        device_name(execution.device),
        step_tokens=workload.batch_size * workload.max_length_tokens,
        dropout=workload.dropout,
        one_by_one=setting.scenario.protocol.kind in RULES_ONE_BY_ONE,
    )


def task_learning(setting: Setting, recipe: Recipe, trainer: Trainer) -> TaskLearning:
    """Return the learning of a run, done by `trainer`."""
    data, workload = setting.text, setting.scenario.workload
    max_tokens = max_group_tokens(
        setting.shape,
        setting.lora,
        dtype=workload.dtype,
        batch_size=workload.batch_size,
        length_tokens=workload.max_length_tokens,
        device=device_name(setting.scenario.execution.device),
    )
    learning = LEARNINGS.get(setting.scenario.protocol.kind, TaskLearning)
    return learning(
        trainer,
        recipe,
        LearningData(
            training=data.training_batches,
            validation=data.validation_batches,
            held_out=data.held_out_batches(EVALUATION_BATCH_SIZE),
            num_samples=data.num_samples,
        ),
        lambda cut: setting.lora.block_ranks(setting.shape.num_blocks, cut),
        _rule(setting),
        max_group_tokens=max_tokens if executor_of(setting) == "fused" else None,
    )


def _rule(setting: Setting) -> str:
    """Return what names the rule of aggregation in tasks: the user's own by its content."""
    own = setting.own_code.get("protocol.aggregator")
    return setting.scenario.protocol.aggregator if own is None else f"{own.name}@{own.sha256}"
