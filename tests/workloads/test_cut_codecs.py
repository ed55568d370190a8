"""Codecs at work: training and clients' own measurements with a codec at the cut, against a whole model with a hook."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.workloads.cohort import FULL, LEARNING_RATE, Cohort, Job, same
from tests.workloads.reference import (
    BLOCKS,
    PEFT_WARNING,
    RANK,
    PeftLoop,
    random_batch,
    save_model,
    targets_of,
    whole_loss,
)
from tests.workloads.small_models import single_thread
from workloads.batches import Batch
from workloads.codec_bytes import FP32, Codec
from workloads.codecs import Boundary, StepNoise, noise, roundtrip
from workloads.lora import block_of, rows
from workloads.models import ModelFiles
from workloads.ranks import block_ranks
from workloads.tasks import Recipe

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(PEFT_WARNING)]

INT4, TOPK = Codec(kind="int4"), Codec(kind="topk", frac=0.25)
RANDTOPK = Codec(kind="randtopk", frac=0.25, explore_frac=0.1)
PAIRS = [
    (Codec(kind="int8"), FP32),
    (FP32, Codec(kind="fp16")),
    (INT4, INT4),
    (Codec(kind="hadamard4"), Codec(kind="bf16")),
    (TOPK, TOPK),
    (RANDTOPK, RANDTOPK),
    (INT4, TOPK),
]
HIDDEN = 32
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def llama(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return save_model("llama", tmp_path_factory.mktemp("llama"))


def two_rounds() -> list[list[Batch]]:
    return [[random_batch(10 * r + s) for s in range(2)] for r in range(2)]


class HookedLoop(PeftLoop):
    """The whole model in one piece, with the codecs in a hook behind the client's last block."""

    def put_codecs(self, recipe: Recipe, cut: int) -> None:
        self._recipe, self._num_steps = recipe, 0
        self.model.base_model.model.model.layers[cut - 1].register_forward_hook(self._pass)

    def run(self, batches: Any) -> tuple[float, ...]:
        losses: tuple[float, ...] = ()
        for batch in batches:
            self._batch = batch
            losses += super().run([batch])
            self._num_steps += 1
        return losses

    def _pass(self, _module: object, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        drawn = StepNoise.of(self._recipe, self._batch, self._num_steps, HIDDEN, CPU)
        codecs = self._recipe.activation_codec, self._recipe.gradient_codec
        arrived: torch.Tensor = Boundary.apply(output, *codecs, drawn.up, drawn.down)[0]  # type: ignore[no-untyped-call]
        return arrived


@pytest.mark.parametrize(("activations", "gradients"), PAIRS, ids=str)
def test_split_training_with_codecs_is_a_whole_model_with_codecs_inside(
    llama: ModelFiles, activations: Codec, gradients: Codec
) -> None:
    cut = 2
    ranks = block_ranks(BLOCKS, cut, RANK, 2, "both")
    split = Cohort(llama, activation_codec=activations, gradient_codec=gradients)
    whole = HookedLoop(llama, split.values, ranks, targets_of("llama"), lr=LEARNING_RATE, weight_decay=0.0)
    whole.put_codecs(split.recipe, cut)
    for batches in two_rounds():
        assert split.run_round({0: Job(batches=batches, cut=cut, ranks=ranks)}) == [whole.run(batches)]
    own = {key: rows(values, key, ranks[block_of(key)]) for key, values in split.values.items()}
    assert same(own, whole.adapter)


def test_a_lossy_codec_makes_where_the_model_is_cut_matter(llama: ModelFiles) -> None:
    batches = two_rounds()[0]
    losses = {
        (codec, cut): Cohort(llama, activation_codec=codec).run_round({0: Job(batches=batches, cut=cut)})
        for codec in (FP32, Codec(kind="int8"))
        for cut in (1, 3)
    }
    assert losses[FP32, 1] == losses[FP32, 3]
    assert len({str(value) for value in losses.values()}) == 3


def test_what_codecs_draw_repeats_with_the_task_and_not_with_the_step(llama: ModelFiles) -> None:
    batch = random_batch(0)
    job = Job(batches=[batch])
    cohorts = [Cohort(llama, activation_codec=INT4, learning_rate=1e-30) for _ in range(2)]
    before = torch.get_rng_state()
    first, again = (cohort.run_round({0: job}) for cohort in cohorts)
    assert torch.equal(torch.get_rng_state(), before)
    assert first == again
    # Nothing is learned at such a rate: only the second step's own draws make its loss another.
    assert cohorts[0].run_round({0: job}) != first


def test_clients_measure_themselves_across_the_wire_with_the_rows_they_have(llama: ModelFiles) -> None:
    cut, ranks = 2, block_ranks(BLOCKS, 2, RANK, 2, "both")
    cohort = Cohort(llama, activation_codec=RANDTOPK)
    cohort.run_round({0: Job(batches=two_rounds()[0], cut=cut, ranks=ranks)})
    whole = PeftLoop(llama, cohort.state(cohort.trained[0]).adapter, ranks, targets_of("llama"))
    hook = whole.model.base_model.model.model.layers[cut - 1].register_forward_hook(
        lambda _module, _inputs, output: roundtrip(output, TOPK)  # exploring ends with training
    )
    measured = random_batch(7)
    with torch.no_grad():
        expected = whole_loss(whole.model, measured).item()
        hook.remove()
        lossless = whole_loss(whole.model, measured).item()
    assert cohort.own_loss(0, [measured], cut) == pytest.approx(expected, rel=1e-6)
    assert abs(expected - lossless) > 1e-3


def test_what_a_measurement_draws_depends_on_the_batch_alone(llama: ModelFiles) -> None:
    cohort = Cohort(llama, activation_codec=INT4)
    cohort.run_round({0: Job(batches=two_rounds()[0])})
    batch = random_batch(7)
    assert cohort.own_loss(0, [batch], 1) == cohort.own_loss(0, [batch], 1)
    drawn = noise(INT4, (*batch.ids.shape, HIDDEN), f"0 {batch.digest} validation", CPU)
    whole = PeftLoop(llama, cohort.state(cohort.trained[0]).adapter, FULL, targets_of("llama"))
    whole.model.base_model.model.model.layers[0].register_forward_hook(
        lambda _module, _inputs, output: roundtrip(output, INT4, drawn)
    )
    with torch.no_grad():
        assert cohort.own_loss(0, [batch], 1) == pytest.approx(whole_loss(whole.model, batch).item(), rel=1e-6)


def test_the_global_model_is_measured_without_a_codec(llama: ModelFiles) -> None:
    cohort = Cohort(llama, activation_codec=INT4, gradient_codec=INT4)
    cohort.run_round({0: Job(batches=two_rounds()[0])})
    batch = random_batch(7)
    whole = PeftLoop(llama, cohort.values, FULL, targets_of("llama"))
    with torch.no_grad():
        assert cohort.loss([batch]) == pytest.approx(whole_loss(whole.model, batch).item(), rel=1e-6)
