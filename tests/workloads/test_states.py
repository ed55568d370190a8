"""A state that was kept and loaded is the state: what follows from it is the same to the bit."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.workloads.reference import PEFT_WARNING, random_batch, save_model
from tests.workloads.small_models import single_thread
from tests.workloads.test_trainer import Rounds, three_rounds
from workloads.engine import State
from workloads.models import ModelFiles
from workloads.optimizer import Moments
from workloads.results import SavedState
from workloads.states import load_state, save_state
from workloads.tasks import EvalTask, InitialTask

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(PEFT_WARNING)]

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def llama(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return save_model("llama", tmp_path_factory.mktemp("llama"))


def reloaded(state: State) -> State:
    return load_state(State, SavedState.from_bytes(save_state(state).to_bytes()), CPU)


def equal(one: Any, other: Any) -> bool:
    """Return whether two states hold the same, in the same order and of the same types."""
    if dataclasses.is_dataclass(one):
        return type(one) is type(other) and all(
            equal(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one)
        )
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


def tensors(*names: str, seed: int = 0) -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return {name: torch.randn(3, 4, generator=draws) for name in names}


@pytest.mark.parametrize(
    "state",
    [
        State(adapter=tensors("b", "a")),
        State(adapter=tensors("b", "a"), ranks=(16, 8), base_delta=tensors("layer")),
        State(adapter=tensors("a"), moments=Moments(first=tensors("z", "a"), second=tensors("a", "z"), num_steps=7)),
    ],
    ids=["global", "with a delta", "with moments"],
)
def test_every_field_comes_back_in_its_order(state: State) -> None:
    assert equal(reloaded(state), state)


def test_loaded_tensors_have_memory_of_their_own_that_is_aligned() -> None:
    """Kernels choose their code by alignment; a file's tensors begin anywhere."""
    saved = SavedState.from_bytes(save_state(State(adapter=tensors("a", "bb", "ccc"))).to_bytes())
    loaded = load_state(State, saved, CPU)
    for name, tensor in loaded.adapter.items():
        assert tensor.data_ptr() % 64 == 0
        tensor.add_(1)
        assert not torch.equal(tensor, torch.tensor(saved.arrays[f"adapter/{name}"]))


def test_saving_copies_nothing_on_a_cpu() -> None:
    state = State(adapter=tensors("a"))
    assert save_state(state).arrays["adapter/a"].__array_interface__["data"][0] == state.adapter["a"].data_ptr()


def test_training_goes_on_from_loaded_states_to_the_same_bits(llama: ModelFiles) -> None:
    first, second, third = three_rounds()
    undisturbed, interrupted = Rounds(llama, weight_decay=0.01), Rounds(llama, weight_decay=0.01)
    for rounds in (undisturbed, interrupted):
        for cut, batches in ((1, first), (2, second)):
            rounds.train(batches, cut)
    resumed = Rounds(llama, weight_decay=0.01)
    for key in (interrupted.adapter, interrupted.last):
        assert key is not None
        saved = SavedState.from_bytes(interrupted.trainer.get(key).to_bytes())
        resumed.trainer.put(key, saved)
        assert equal(resumed.trainer._states[key], interrupted.trainer._states[key])
    resumed.adapter, resumed.last, resumed.num_steps = interrupted.adapter, interrupted.last, interrupted.num_steps
    assert resumed.train(third, 3) == undisturbed.train(third, 3)
    assert all(torch.equal(resumed.values[key], values) for key, values in undisturbed.values.items())
    assert resumed.evaluate([random_batch(9)]) == undisturbed.evaluate([random_batch(9)])


def test_a_result_is_told_as_soon_as_its_state_can_be_had(llama: ModelFiles) -> None:
    rounds = Rounds(llama)
    tasks = [rounds.task(batches, cut=1) for batches in three_rounds()]
    told = []

    def on_result(result: Any) -> None:
        told.append((result.key, save_state(rounds.trainer._states[result.key]).to_bytes()))

    results = rounds.trainer.train(tasks, on_result)
    assert [key for key, _ in told] == [result.key for result in results] == [task.key for task in tasks]
    # Later tasks leave the states of earlier ones as they were: they may still be on their way to disk.
    assert told == [(task.key, rounds.trainer.get(task.key).to_bytes()) for task in tasks]


def test_what_is_kept_is_never_changed_by_what_follows(llama: ModelFiles) -> None:
    rounds = Rounds(llama)
    initial = rounds.trainer.initial(InitialTask(recipe=rounds.recipe))
    rounds.train(three_rounds()[0], 1)
    kept = {key: rounds.trainer.get(key) for key in (initial, rounds.last or "", rounds.adapter)}
    before = {key: state.to_bytes() for key, state in kept.items()}
    rounds.train(three_rounds()[1], 2)
    rounds.trainer.evaluate([EvalTask(recipe=rounds.recipe, adapter=rounds.adapter, batches=(random_batch(3),))])
    assert {key: state.to_bytes() for key, state in kept.items()} == before


def test_the_kept_file_is_safetensors_that_anybody_can_read(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    state = State(adapter=tensors("a"), moments=Moments(first=tensors("a"), second=tensors("a", seed=1), num_steps=2))
    (tmp_path / "state.safetensors").write_bytes(save_state(state).to_bytes())
    found = load_file(tmp_path / "state.safetensors")
    assert sorted(found) == ["adapter/a", "moments/first/a", "moments/second/a"]
    assert torch.equal(found["moments/second/a"], state.moments.second["a"] if state.moments else torch.zeros(0))
