"""Clients trained together against the same clients trained one after another."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.workloads.reference import ALPHA, BLOCKS, PEFT_WARNING, RANK, random_batch, save_model, targets_of
from tests.workloads.small_models import single_thread
from workloads.batches import Batch
from workloads.codec_bytes import FP32, Codec
from workloads.engine import State
from workloads.executors import ExecutorName
from workloads.grouping import grouped
from workloads.loading import load_base
from workloads.lora import block_of
from workloads.models import ModelFiles, resolve_model
from workloads.numerics import numerics_id
from workloads.ranks import block_ranks
from workloads.sequential import Sequential
from workloads.tasks import AggregateTask, EvalTask, InitialTask, OptimizerSpec, Recipe, TrainResult, TrainTask
from workloads.trainer import TorchTrainer

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(PEFT_WARNING)]

FAMILIES = ("gpt2", "opt", "gpt_neo", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "phi3", "gemma3_text")
CUTS = (1, 3, 2, 1, 3, 3, 2, 1)  # of eight clients
CODECS = [
    (Codec(kind="int8"), Codec(kind="fp16")),
    (Codec(kind="int4"), Codec(kind="int4")),
    (Codec(kind="hadamard4"), FP32),
    (Codec(kind="topk", frac=0.25), Codec(kind="topk", frac=0.25)),
    (Codec(kind="randtopk", frac=0.25, explore_frac=0.1), Codec(kind="int8")),
]
UNLIMITED = 10**9


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def folders(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def model_of(family: str, folders: Path) -> ModelFiles:
    folder = folders / family
    return resolve_model(str(folder)) if folder.exists() else save_model(family, folder)


def recipe_for(files: ModelFiles, family: str, executor: ExecutorName, device: str = "cpu", **changes: Any) -> Recipe:
    """Return a recipe; changes may name fields of the recipe or of its optimizer."""
    optimizer = OptimizerSpec(
        learning_rate=1e-2,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.01,
        schedule="constant",
        total_steps=None,
        state="kept",
        max_grad_norm=None,
    )
    of_optimizer = {f.name: changes.pop(f.name) for f in dataclasses.fields(OptimizerSpec) if f.name in changes}
    dtype = changes.pop("dtype", "float32")
    recipe = Recipe(
        model_digest=files.model_digest,
        tokenizer_digest=files.tokenizer_digest,
        dtype=dtype,
        targets=targets_of(family),
        rank=RANK,
        alpha=ALPHA,
        adapter_seed=0,
        optimizer=dataclasses.replace(optimizer, **of_optimizer),
        dropout=0.0,
        activation_codec=FP32,
        gradient_codec=FP32,
        learning_rule="sfl-v1",
        numerics=numerics_id(device, dtype, executor),
    )
    return dataclasses.replace(recipe, **changes)


class Clients:
    """Eight clients of one trainer, of mixed cuts and ranks, who train round after round."""

    def __init__(
        self,
        files: ModelFiles,
        family: str,
        executor: ExecutorName,
        max_tokens: int = UNLIMITED,
        device: str = "cpu",
        checkpointing: bool = False,
        **changes: Any,
    ) -> None:
        self.recipe = recipe_for(files, family, executor, device, **changes)
        self.trainer = TorchTrainer(self.recipe, files, device=device, executor=executor, checkpointing=checkpointing)
        assert self.trainer.notes == ()
        self._max_tokens = max_tokens if executor == "fused" else 0
        self.adapter = self.trainer.initial(InitialTask(recipe=self.recipe))
        self.trained: dict[int, str] = {}
        self.num_steps: dict[int, int] = {}

    def tasks(self, batches: Mapping[int, Sequence[Batch]]) -> list[TrainTask]:
        return [
            TrainTask(
                recipe=self.recipe,
                adapter=self.adapter,
                moments=self.trained.get(client) if self.recipe.optimizer.state == "kept" else None,
                first_step=self.num_steps.get(client, 0),
                batches=tuple(of_client),
                ranks=block_ranks(BLOCKS, CUTS[client], RANK, 1 + client % 3, "both"),
                cut=CUTS[client],
            )
            for client, of_client in batches.items()
        ]

    def train(self, batches: Mapping[int, Sequence[Batch]], rule: str = "segment") -> list[TrainResult]:
        """Let some clients train, in groups where they can, and average what they have learned."""
        tasks = grouped(self.tasks(batches), self._max_tokens)
        results = self.trainer.train(tasks)
        for client, result in zip(batches, results, strict=True):
            self.trained[client] = result.key
            self.num_steps[client] = self.num_steps.get(client, 0) + len(batches[client])
        self.adapter = self.trainer.aggregate(
            AggregateTask(
                recipe=self.recipe,
                rule=rule,
                base=self.adapter,
                updates=tuple(result.key for result in results),
                weights=(1.0,) * len(results),
            )
        )
        return results

    def state(self, client: int) -> State:
        return self.trainer._states[self.trained[client]]

    def loss(self, batches: Sequence[Batch]) -> float:
        task = EvalTask(recipe=self.recipe, adapter=self.adapter, batches=tuple(batches))
        return self.trainer.evaluate([task])[0].loss


def batches_of(round_number: int, num_steps: int, clients: Sequence[int] = range(8)) -> dict[int, list[Batch]]:
    """Return batches of different padded lengths, 12 to 19 tokens."""
    return {
        c: [random_batch(1000 * round_number + 10 * c + s, longest=12 + c) for s in range(num_steps)] for c in clients
    }


def pair(files: ModelFiles, family: str, **changes: Any) -> tuple[Clients, Clients]:
    return Clients(files, family, "sequential", **changes), Clients(files, family, "fused", **changes)


def largest_difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return the largest difference of two tensors of one name, relative to their norm."""
    assert one.keys() == other.keys()
    norms = {key: max(torch.linalg.vector_norm(value).item(), 1e-30) for key, value in one.items()}
    differences: dict[str, float] = {
        key: torch.linalg.vector_norm(value - other[key]).item() / norms[key] for key, value in one.items()
    }
    return max(differences.values())


def assert_equal_states(one: Clients, other: Clients, tolerance: float) -> None:
    for client in one.trained:
        ours, theirs = one.state(client), other.state(client)
        assert largest_difference(ours.adapter, theirs.adapter) < tolerance
        assert ours.ranks == theirs.ranks
        if ours.moments is None:
            assert theirs.moments is None
            continue
        assert theirs.moments is not None
        assert ours.moments.num_steps == theirs.moments.num_steps
        assert largest_difference(ours.moments.first, theirs.moments.first) < tolerance
        assert largest_difference(ours.moments.second, theirs.moments.second) < tolerance


@pytest.mark.parametrize("family", FAMILIES)
def test_clients_of_mixed_cuts_and_ranks_learn_together_what_they_learn_alone(family: str, folders: Path) -> None:
    one, other = pair(model_of(family, folders), family, dtype="float64")
    alone, together = (clients.train(batches_of(0, 4)) for clients in (one, other))
    assert_equal_states(one, other, 1e-9)
    for ours, theirs in zip(alone, together, strict=True):
        assert ours.losses == pytest.approx(theirs.losses, rel=1e-12)
        assert ours.num_tokens == theirs.num_tokens


@pytest.mark.parametrize(("up", "down"), CODECS, ids=[f"{up} {down}" for up, down in CODECS])
def test_clients_meet_their_codecs_together_as_they_do_alone(up: Codec, down: Codec, folders: Path) -> None:
    codecs = {"activation_codec": up, "gradient_codec": down, "dtype": "float64"}
    one, other = pair(model_of("llama", folders), "llama", **codecs)
    lossless = Clients(model_of("llama", folders), "llama", "fused", dtype="float64")
    for clients in (one, other, lossless):
        clients.train(batches_of(0, 4))
    assert_equal_states(one, other, 1e-9)
    assert largest_difference(one.state(0).adapter, lossless.state(0).adapter) > 1e-4  # the codecs do something


def test_codecs_reach_blocks_that_return_tuples(folders: Path) -> None:
    codecs = {"activation_codec": Codec(kind="int8"), "gradient_codec": Codec(kind="int8"), "dtype": "float64"}
    one, other = pair(model_of("gpt_neo", folders), "gpt_neo", **codecs)
    for clients in (one, other):
        clients.train(batches_of(0, 2))
    assert_equal_states(one, other, 1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": "cosine", "total_steps": 5},
        {"max_grad_norm": 1e-3},
        {"state": "reset"},
        {"dormant": "frozen"},
        {"dormant": "frozen", "max_grad_norm": 1e-3},
        {"trains_a": False},
    ],
    ids=str,
)
def test_rounds_of_changing_clients_are_the_same_together_and_alone(changes: dict[str, Any], folders: Path) -> None:
    # In the second round clients have taken 2, or no, steps before; in the third 2 to 4: places in the schedule, counts
    # of steps and moments differ within a group.
    one, other = pair(model_of("llama", folders), "llama", dtype="float64", **changes)
    for number, present in enumerate([(0, 1, 2, 3, 4), (2, 3, 4, 5, 6, 7), (0, 1, 2, 7)]):
        for clients in (one, other):
            clients.train(batches_of(number, 2, present))
    assert_equal_states(one, other, 1e-9)
    assert largest_difference(one.trainer.state(one.adapter), other.trainer.state(other.adapter)) < 1e-9


def test_what_an_aggregation_leaves_to_the_base_model_reaches_clients_together(folders: Path) -> None:
    one, other = pair(model_of("llama", folders), "llama", dtype="float64")
    for number in range(2):
        for clients in (one, other):
            clients.train(batches_of(number, 2), rule="fedex")
    assert one.trainer._states[one.adapter].base_delta
    assert_equal_states(one, other, 1e-6)  # the delta itself is summed in float32


def with_trained_start(one: Clients, other: Clients) -> None:
    """Let both start a round from the same trained adapter, whose B is not zero, and the same moments."""
    one.train(batches_of(0, 2))
    for key in (one.adapter, *one.trained.values()):
        other.trainer.put(key, one.trainer.get(key))
    other.adapter, other.trained, other.num_steps = one.adapter, dict(one.trained), dict(one.num_steps)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text"])
def test_gradients_of_one_step_agree_in_float32(family: str, folders: Path) -> None:
    # After one step from no moments the first moment is (1 - 0.9) times the gradient.
    one, other = pair(model_of(family, folders), family, state="kept")
    with_trained_start(one, other)
    for clients in (one, other):
        clients.trained, clients.num_steps = {}, {}
        clients.train(batches_of(1, 1))
    for client in range(8):
        ours, theirs = one.state(client).moments, other.state(client).moments
        assert ours is not None
        assert theirs is not None
        assert all(torch.linalg.vector_norm(value) > 0 for value in ours.first.values())
        assert largest_difference(ours.first, theirs.first) < 1e-5


# The bound on gradients does not hold with lossy codecs: a value within float32's rounding of the edge between two
# codes may get either, which is a whole step of the codec for that value.
@pytest.mark.parametrize(("up", "down"), [(FP32, FP32), *CODECS], ids=str)
def test_a_round_leads_to_the_same_held_out_loss_in_float32(up: Codec, down: Codec, folders: Path) -> None:
    one, other = pair(model_of("llama", folders), "llama", activation_codec=up, gradient_codec=down)
    with_trained_start(one, other)
    for clients in (one, other):
        clients.train(batches_of(1, 4))
    held_out = [random_batch(9), random_batch(10, num_samples=5)]
    assert one.loss(held_out) == pytest.approx(other.loss(held_out), rel=1e-4)


def test_rows_that_a_client_does_not_train_stay_as_they_were(folders: Path) -> None:
    clients = Clients(model_of("llama", folders), "llama", "fused")
    clients.train(batches_of(0, 2))
    before, start = {c: clients.state(c) for c in range(8)}, clients.trainer.state(clients.adapter)
    clients.train(batches_of(1, 2))
    for c, ours in before.items():
        theirs = clients.state(c)
        for key, values in start.items():
            rank = theirs.ranks[block_of(key)]
            dormant = slice(rank, None) if ".lora_A." in key else (slice(None), slice(rank, None))
            assert torch.equal(theirs.adapter[key][dormant], values[dormant])
            assert ours.moments is not None
            assert theirs.moments is not None
            assert torch.equal(theirs.moments.second[key][dormant], ours.moments.second[key][dormant])


def test_a_group_gives_the_same_bits_again_and_groups_may_differ_in_size(folders: Path) -> None:
    files = model_of("llama", folders)
    first, again, small = (Clients(files, "llama", "fused", max_tokens) for max_tokens in (UNLIMITED, UNLIMITED, 150))
    for clients in (first, again, small):
        clients.train(batches_of(0, 2))
    assert_equal_states(first, again, 1e-30)
    assert set(first.trained.values()).isdisjoint(small.trained.values())  # other groups, other names
    assert largest_difference(first.state(0).adapter, small.state(0).adapter) < 1e-4


def test_a_client_without_company_is_trained_as_if_alone(folders: Path) -> None:
    one, other = pair(model_of("llama", folders), "llama")
    for clients in (one, other):
        clients.train(batches_of(0, 2, [3]))
    assert_equal_states(one, other, 1e-30)


def test_states_have_memory_of_their_own(folders: Path) -> None:
    clients = Clients(model_of("llama", folders), "llama", "fused")
    clients.train(batches_of(0, 1))
    for values in clients.state(0).adapter.values():
        assert values.untyped_storage().nbytes() == values.nbytes


def test_progress_is_told_for_all_clients_of_a_group_at_once(folders: Path) -> None:
    files, told = model_of("llama", folders), list[int]()
    recipe = recipe_for(files, "llama", "fused")
    trainer = TorchTrainer(recipe, files, device="cpu", executor="fused", on_step=told.append)
    clients = Clients(files, "llama", "fused")
    tasks = [dataclasses.replace(task, recipe=recipe) for task in clients.tasks(batches_of(0, 3))]
    trainer.initial(InitialTask(recipe=recipe))
    trainer.train(grouped(tasks[:7], UNLIMITED))
    assert told == [7, 7, 7]


def test_half_a_group_is_refused(folders: Path) -> None:
    clients = Clients(model_of("llama", folders), "llama", "fused")
    tasks = grouped(clients.tasks(batches_of(0, 1)), UNLIMITED)
    with pytest.raises(ValueError, match="a group of clients has to be trained as a whole"):
        clients.trainer.train(tasks[1:])


class MixesSamples(nn.Module):
    """A norm that, like batch normalisation, looks at the other samples of a batch too."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self._norm = norm

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self._norm(x)
        return normed - normed.mean(0, keepdim=True)


def test_a_model_that_mixes_samples_is_trained_one_client_after_another_and_that_is_said(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_mixing(*args: Any, **kwargs: Any) -> Any:
        model = load_base(*args, **kwargs)
        for block in model.model.layers:
            block.input_layernorm = MixesSamples(block.input_layernorm)
        return model

    files = model_of("llama", folders)
    monkeypatch.setattr("workloads.engine.load_base", load_mixing)
    recipe = recipe_for(files, "llama", "fused")
    trainer = TorchTrainer(recipe, files, device="cpu", executor="fused")
    [note] = trainer.notes
    assert note == (
        "clients are trained one after another, because together they cannot be: "
        "what the model computes for a sample depends on the others in a batch"
    )
    assert isinstance(trainer._executor, Sequential)


def test_dropout_is_drawn_by_each_client_for_itself(folders: Path) -> None:
    files = model_of("llama", folders)
    trainer = TorchTrainer(recipe_for(files, "llama", "fused", dropout=0.1), files, device="cpu", executor="fused")
    assert trainer.notes[0].endswith("together they cannot be: each client draws its own dropout")
    assert isinstance(trainer._executor, Sequential)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("bfloat16", 0.2)])
def test_a_gpu_trains_clients_together_as_alone(folders: Path, dtype: str, tolerance: float) -> None:
    files = model_of("llama", folders)
    both = [Clients(files, "llama", executor, device="cuda", dtype=dtype) for executor in ("sequential", "fused")]
    for clients in both:
        clients.train(batches_of(0, 4))
    assert largest_difference(both[0].state(0).adapter, both[1].state(0).adapter) < tolerance
