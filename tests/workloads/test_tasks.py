"""Keys of tasks: all that can change a result, and nothing else."""

import dataclasses
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.batches import Batch
from workloads.codec_bytes import FP32, Codec
from workloads.tasks import (
    AggregateTask,
    EvalTask,
    InitialTask,
    OptimizerSpec,
    Recipe,
    TrainTask,
    cut_changes_result,
)

OPTIMIZER = OptimizerSpec(
    learning_rate=2e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    schedule="linear",
    total_steps=100,
    state="kept",
    max_grad_norm=None,
)
RECIPE = Recipe(
    model_digest="model",
    tokenizer_digest="tokenizer",
    dtype="float32",
    targets=("q_proj", "v_proj"),
    rank=16,
    alpha=32,
    adapter_seed=0,
    optimizer=OPTIMIZER,
    dropout=0.0,
    activation_codec=FP32,
    gradient_codec=FP32,
    learning_rule="sfl-v1",
    numerics="cpu",
)


def batch(first: int = 5) -> Batch:
    ids = np.array([[first, 6, 7]], np.int32)
    return Batch(ids=ids, labels=ids.copy(), lengths=np.array([3], np.int32))


TRAIN = TrainTask(
    recipe=RECIPE, adapter="a", moments="m", first_step=4, batches=(batch(), batch(9)), ranks=(16, 8), cut=1
)
EVAL = EvalTask(recipe=RECIPE, adapter="a", batches=(batch(),))
AGGREGATE = AggregateTask(recipe=RECIPE, rule="segment", base="b", updates=("u", "v"), weights=(0.25, 0.75))

OTHER_OPTIMIZERS: list[dict[str, Any]] = [
    {"kind": "sgd"},
    {"learning_rate": 1e-3},
    {"betas": (0.9, 0.99)},
    {"eps": 1e-6},
    {"weight_decay": 0.01},
    {"schedule": "cosine"},
    {"total_steps": 200},
    {"max_grad_norm": 1.0},
]
OTHER_RECIPES: list[dict[str, Any]] = [
    {"model_digest": "other"},
    {"tokenizer_digest": "other"},
    {"dtype": "bfloat16"},
    {"targets": ("q_proj",)},
    {"rank": 32},
    {"alpha": 16},
    {"adapter_seed": 1},
    {"dropout": 0.1},
    {"activation_codec": Codec(kind="int8")},
    {"gradient_codec": Codec(kind="int8")},
    {"learning_rule": "local-loss"},
    {"numerics": "cuda"},
    {"dormant": "frozen"},
    {"trains_a": False},
    *({"optimizer": dataclasses.replace(OPTIMIZER, **change)} for change in OTHER_OPTIMIZERS),
]


def with_recipe(task: TrainTask, **changes: Any) -> TrainTask:
    return dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, **changes))


def name_of(change: dict[str, Any]) -> str:
    return ",".join(change)


@pytest.mark.parametrize("change", OTHER_RECIPES, ids=name_of)
def test_every_part_of_the_recipe_changes_the_key_of_training(change: dict[str, Any]) -> None:
    assert with_recipe(TRAIN, **change).key != TRAIN.key


OTHER_TRAININGS: list[dict[str, Any]] = [
    {"adapter": "other"},
    {"moments": None},
    {"moments": "other"},
    {"first_step": 5},
    {"batches": (batch(9), batch())},
    {"batches": (batch(),)},
    {"ranks": (8, 16)},
    {"group": "others"},
]


@pytest.mark.parametrize("change", OTHER_TRAININGS, ids=str)
def test_every_input_changes_the_key_of_training(change: dict[str, Any]) -> None:
    assert dataclasses.replace(TRAIN, **change).key != TRAIN.key


def test_a_state_that_is_not_kept_changes_the_key_of_training() -> None:
    afresh = dataclasses.replace(TRAIN, moments=None)
    assert with_recipe(afresh, optimizer=dataclasses.replace(OPTIMIZER, state="reset")).key != afresh.key


def test_the_cut_stays_out_of_the_key_where_it_changes_nothing() -> None:
    assert dataclasses.replace(TRAIN, cut=2).key == TRAIN.key


CUT_MATTERS = [
    {"activation_codec": Codec(kind="int8")},
    {"gradient_codec": Codec(kind="topk", frac=0.1)},
    {"dropout": 0.1},
    {"learning_rule": "local-loss"},
    {"optimizer": dataclasses.replace(OPTIMIZER, max_grad_norm=1.0)},
]


@pytest.mark.parametrize("change", CUT_MATTERS, ids=name_of)
def test_the_cut_is_in_the_key_where_it_changes_the_result(change: dict[str, Any]) -> None:
    task = with_recipe(TRAIN, **change)
    assert cut_changes_result(task.recipe)
    assert dataclasses.replace(task, cut=2).key != task.key


def test_the_cut_changes_nothing_in_exact_split_training() -> None:
    assert not cut_changes_result(RECIPE)


def test_a_constant_schedule_has_no_place_in_it_and_no_length() -> None:
    constant = with_recipe(TRAIN, optimizer=dataclasses.replace(OPTIMIZER, schedule="constant"))
    assert dataclasses.replace(constant, first_step=99).key == constant.key
    longer = dataclasses.replace(OPTIMIZER, schedule="constant", total_steps=None)
    assert with_recipe(constant, optimizer=longer).key == constant.key


@pytest.mark.parametrize("codec", ["activation_codec", "gradient_codec"])
def test_the_place_among_the_steps_matters_where_codecs_draw_at_random(codec: str) -> None:
    constant = with_recipe(TRAIN, optimizer=dataclasses.replace(OPTIMIZER, schedule="constant"))
    drawing = with_recipe(constant, **{codec: Codec(kind="int4")})
    assert dataclasses.replace(drawing, first_step=99).key != drawing.key
    rounding = with_recipe(constant, **{codec: Codec(kind="int8")})
    assert dataclasses.replace(rounding, first_step=99).key == rounding.key


def test_what_becomes_of_dormant_rows_does_not_matter_where_there_are_none() -> None:
    full = dataclasses.replace(TRAIN, ranks=(16, 16))
    assert with_recipe(full, dormant="frozen").key == full.key


def test_the_order_of_targets_and_the_type_of_a_number_do_not_matter() -> None:
    assert with_recipe(TRAIN, targets=("v_proj", "q_proj"), alpha=32.0).key == TRAIN.key


@pytest.mark.parametrize("change", OTHER_RECIPES, ids=name_of)
def test_a_first_adapter_depends_on_model_targets_rank_seed_and_machine_alone(change: dict[str, Any]) -> None:
    matters = {"model_digest", "tokenizer_digest", "targets", "rank", "adapter_seed", "numerics"}
    other = InitialTask(recipe=dataclasses.replace(RECIPE, **change))
    assert (other.key != InitialTask(recipe=RECIPE).key) == bool(matters & change.keys())


@pytest.mark.parametrize("change", OTHER_RECIPES, ids=name_of)
def test_measuring_depends_on_the_forward_pass_alone(change: dict[str, Any]) -> None:
    # model, targets, rank, seed and machine are in the adapter's key
    other = dataclasses.replace(EVAL, recipe=dataclasses.replace(RECIPE, **change))
    assert (other.key != EVAL.key) == bool({"dtype", "alpha"} & change.keys())


def test_a_clients_own_measurement_depends_on_cut_and_codec_only_where_something_is_lost() -> None:
    own = dataclasses.replace(EVAL, cut=1)
    assert own.key != EVAL.key  # it has only its own rows
    assert dataclasses.replace(own, cut=2).key == own.key
    lossy = dataclasses.replace(own, recipe=dataclasses.replace(RECIPE, activation_codec=Codec(kind="int8")))
    assert lossy.key != own.key
    assert dataclasses.replace(lossy, cut=2).key != lossy.key
    gradients = dataclasses.replace(own, recipe=dataclasses.replace(RECIPE, gradient_codec=Codec(kind="int8")))
    assert gradients.key == own.key  # none are sent


def test_measuring_needs_the_adapter_and_where_that_is_elsewhere_the_base_models_delta() -> None:
    assert EVAL.inputs == ("a",)
    on_delta = dataclasses.replace(EVAL, start="s")
    assert on_delta.inputs == ("a", "s")
    assert on_delta.key != EVAL.key


def test_measuring_depends_on_adapter_and_batches() -> None:
    assert dataclasses.replace(EVAL, adapter="other").key != EVAL.key
    assert dataclasses.replace(EVAL, batches=(batch(9),)).key != EVAL.key


OTHER_AGGREGATIONS: list[dict[str, Any]] = [
    {"rule": "fedavg"},
    {"base": "c"},
    {"updates": ("v", "u")},
    {"weights": (0.75, 0.25)},
    {"restart_seed": 1},
    {"rows": ((16, 8), (16, 16))},
]


@pytest.mark.parametrize("change", OTHER_AGGREGATIONS, ids=name_of)
def test_aggregating_depends_on_rule_inputs_and_weights(change: dict[str, Any]) -> None:
    assert dataclasses.replace(AGGREGATE, **change).key != AGGREGATE.key


FIELDS_TRIED: list[tuple[type, list[dict[str, Any]], set[str]]] = [
    (OptimizerSpec, OTHER_OPTIMIZERS, {"state"}),
    (Recipe, OTHER_RECIPES, set()),
    (TrainTask, OTHER_TRAININGS, {"recipe", "cut"}),
    (AggregateTask, OTHER_AGGREGATIONS, {"recipe", "starts"}),  # the updates' keys hold recipe and starts
]


@pytest.mark.parametrize(
    ("kind", "changes", "elsewhere"), FIELDS_TRIED, ids=lambda value: getattr(value, "__name__", "")
)
def test_no_field_is_forgotten_here(kind: type, changes: list[dict[str, Any]], elsewhere: set[str]) -> None:
    tried = {name for change in changes for name in change}
    assert tried | elsewhere == {field.name for field in dataclasses.fields(kind)}


def test_keys_of_different_kinds_differ() -> None:
    assert len({TRAIN.key, EVAL.key, AGGREGATE.key, InitialTask(recipe=RECIPE).key}) == 4


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_any_token_changes_the_key(one: int, other: int) -> None:
    keys = {dataclasses.replace(TRAIN, batches=(batch(token),)).key for token in (one, other)}
    assert len(keys) == (1 if one == other else 2)


def test_keys_are_the_same_in_another_process() -> None:
    code = "from tests.workloads.test_tasks import TRAIN, EVAL; print(TRAIN.key, EVAL.key)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == [TRAIN.key, EVAL.key]


def test_tasks_and_models_import_no_torch() -> None:
    code = "import sys, workloads.tasks, workloads.models; print({'torch', 'transformers'} & sys.modules.keys())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"


def test_moments_contradict_a_reset_state() -> None:
    with pytest.raises(ValueError, match="'reset' cannot go on with earlier moments"):
        with_recipe(TRAIN, optimizer=dataclasses.replace(OPTIMIZER, state="reset"))


def test_a_schedule_needs_its_length() -> None:
    with pytest.raises(ValueError, match="schedule 'cosine' needs total_steps"):
        dataclasses.replace(OPTIMIZER, schedule="cosine", total_steps=None)
