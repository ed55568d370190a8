"""U-shaped training: three parts that exchange tensors, against the whole model in one piece."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.workloads.cohort import LEARNING_RATE, Cohort, Job, same
from tests.workloads.reference import (
    BLOCKS,
    PEFT_WARNING,
    RANK,
    PeftLoop,
    random_batch,
    random_model,
    save_model,
    targets_of,
    whole_loss,
)
from tests.workloads.small_models import CONFIGS, single_thread
from tests.workloads.test_interleaved import Shared, batches
from tests.workloads.test_split import block_in, gradients, upload_of, with_lora
from workloads.batches import Batch
from workloads.codec_bytes import FP32, Codec
from workloads.codecs import Boundary, StepNoise, noise, roundtrip
from workloads.lora import block_of, rows
from workloads.models import ModelFiles
from workloads.ranks import block_ranks
from workloads.split import SplitModel
from workloads.tasks import Recipe

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(PEFT_WARNING)]

CPU = torch.device("cpu")
INT4, TOPK = Codec(kind="int4"), Codec(kind="topk", frac=0.25)
PAIRS = [(Codec(kind="int8"), FP32), (FP32, Codec(kind="fp16")), (INT4, INT4), (TOPK, TOPK), (INT4, TOPK)]
HIDDEN = 32


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def llama(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return save_model("llama", tmp_path_factory.mktemp("llama"))


def u_step(split: SplitModel, cut: int, batch: Batch) -> Tensor:
    """Take one pass there and back through three parts that share no graph, and return the loss."""
    client, middle = split.parts(cut)[0], split.middle(cut)
    activations = client.forward(torch.from_numpy(batch.ids))
    received = activations.detach().float().requires_grad_()
    hidden = middle.forward(received)
    reply = split.head.step(upload_of(batch, hidden))
    torch.autograd.backward(hidden, reply.gradients)
    assert received.grad is not None
    client.backward(activations, received.grad)
    return reply.loss


@pytest.mark.parametrize("family", CONFIGS)
def test_loss_and_every_lora_gradient_equal_the_whole_models_to_the_bit(family: str) -> None:
    model = random_model(family)
    split = SplitModel(model)
    adapted = with_lora(model, family)
    batch = random_batch(seed=1)
    loss = whole_loss(adapted, batch)
    torch.autograd.backward(loss)
    expected = gradients(adapted)
    for cut in range(1, BLOCKS):
        assert torch.equal(u_step(split, cut, batch), loss.detach()), cut
        actual = gradients(adapted)
        assert all(torch.equal(actual[name], expected[name]) for name in expected), cut


@pytest.mark.parametrize("family", CONFIGS)
def test_the_server_has_neither_embedding_nor_head_and_the_head_no_block(family: str) -> None:
    model = random_model(family)
    split = SplitModel(model)
    adapted = with_lora(model, family)
    batch, cut = random_batch(seed=2), 2
    received = split.parts(cut)[0].forward(torch.from_numpy(batch.ids)).detach()
    blocks = list(model.get_submodule(split.anatomy.blocks))
    around = [model.get_submodule(path) for path in split.anatomy.postlude]
    embeddings = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]

    def refuse(*_args: object) -> None:
        pytest.fail("a part ran a module of another")

    def watched(modules: Sequence[torch.nn.Module]) -> Any:
        return [module.register_forward_pre_hook(refuse) for module in modules]

    hooks = watched([*blocks[:cut], *around, *embeddings])
    assert len(around) >= 2  # norm and head at least
    hidden = split.middle(cut).forward(received)
    for hook in hooks:
        hook.remove()
    watched([*blocks, *embeddings])
    reply = split.head.step(upload_of(batch, hidden))
    torch.autograd.backward(hidden, reply.gradients)
    trained = {name for name, gradient in gradients(adapted).items() if gradient is not None}
    assert trained == {n for n, p in adapted.named_parameters() if p.requires_grad and block_in(n) >= cut}


def test_one_client_learns_what_it_learns_in_sl_to_the_bit(llama: ModelFiles) -> None:
    cut = 2
    relay = Shared(llama, relayed=True, cuts=(cut,))
    own = Cohort(llama, learning_rule="u-shape", optimizer=relay.recipe.optimizer)
    for number in range(3):
        [in_sl] = relay.run(number, [(0, 0), (0, 1)])
        losses = own.run_round({0: Job(batches=batches(0, number), cut=cut)})
        assert losses == [in_sl.losses]
        assert same(own.values, relay.values)


class HookedLoop(PeftLoop):
    """The whole model in one piece, with codecs behind the client's last block and behind the last of all."""

    def put_codecs(self, recipe: Recipe, cut: int) -> None:
        self._recipe, self._num_steps = recipe, 0
        layers = self.model.base_model.model.model.layers
        layers[cut - 1].register_forward_hook(lambda *args: self._pass(args[-1], "up", "down"))
        layers[-1].register_forward_hook(lambda *args: self._pass(args[-1], "to_head", "from_head"))

    def run(self, batches: Any) -> tuple[float, ...]:
        losses: tuple[float, ...] = ()
        for batch in batches:
            self._batch = batch
            losses += super().run([batch])
            self._num_steps += 1
        return losses

    def _pass(self, output: Tensor, there: str, back: str) -> Tensor:
        drawn = StepNoise.of(self._recipe, self._batch, self._num_steps, HIDDEN, CPU)
        codecs = self._recipe.activation_codec, self._recipe.gradient_codec
        draws = getattr(drawn, there), getattr(drawn, back)
        arrived: Tensor = Boundary.apply(output, *codecs, *draws)[0]  # type: ignore[no-untyped-call]
        return arrived


@pytest.mark.parametrize(("activations", "gradients"), PAIRS, ids=str)
def test_with_codecs_it_is_a_whole_model_with_codecs_in_two_places(
    llama: ModelFiles, activations: Codec, gradients: Codec
) -> None:
    cut = 2
    ranks = block_ranks(BLOCKS, cut, RANK, 2, "both")
    parts = Cohort(llama, learning_rule="u-shape", activation_codec=activations, gradient_codec=gradients)
    whole = HookedLoop(llama, parts.values, ranks, targets_of("llama"), lr=LEARNING_RATE, weight_decay=0.0)
    whole.put_codecs(parts.recipe, cut)
    for number in range(2):
        of_round = [random_batch(10 * number + step) for step in range(2)]
        assert parts.run_round({0: Job(batches=of_round, cut=cut, ranks=ranks)}) == [whole.run(of_round)]
    own = {key: rows(values, key, ranks[block_of(key)]) for key, values in parts.values.items()}
    assert same(own, whole.adapter)


def test_a_lossy_codec_makes_it_another_training_than_sfl_v1(llama: ModelFiles) -> None:
    job = {0: Job(batches=[random_batch(0), random_batch(1)])}
    for codec, are_same in ((FP32, True), (Codec(kind="int8"), False)):
        losses = [
            Cohort(llama, learning_rule=rule, activation_codec=codec).run_round(job) for rule in ("sfl-v1", "u-shape")
        ]
        assert (losses[0] == losses[1]) == are_same


def test_the_two_places_draw_for_themselves(llama: ModelFiles) -> None:
    recipe = Cohort(llama, learning_rule="u-shape", activation_codec=INT4, gradient_codec=INT4).recipe
    drawn = StepNoise.of(recipe, random_batch(0), 1, HIDDEN, CPU)
    found = [drawn.up, drawn.down, drawn.to_head, drawn.from_head]
    assert all(values is not None for values in found)
    assert len({str(values) for values in found}) == 4


def test_clients_measure_themselves_across_both_wires(llama: ModelFiles) -> None:
    cut = 2
    cohort = Cohort(llama, learning_rule="u-shape", activation_codec=INT4)
    cohort.run_round({0: Job(batches=[random_batch(0)], cut=cut)})
    ranks = (RANK,) * BLOCKS
    whole = PeftLoop(llama, cohort.state(cohort.trained[0]).adapter, ranks, targets_of("llama"))
    measured = random_batch(7)
    seed = f"{cohort.recipe.adapter_seed} {measured.digest} validation"

    def coded(output: Tensor, name: str) -> Tensor:
        return roundtrip(output, INT4, noise(INT4, output.shape, name, CPU))

    layers = whole.model.base_model.model.model.layers
    layers[cut - 1].register_forward_hook(lambda *args: coded(args[-1], seed))
    with torch.no_grad():
        at_cut_alone = whole_loss(whole.model, measured).item()
        layers[-1].register_forward_hook(lambda *args: coded(args[-1], f"{seed} to_head"))
        expected = whole_loss(whole.model, measured).item()
    assert cohort.own_loss(0, [measured], cut) == pytest.approx(expected, rel=1e-6)
    assert abs(expected - at_cut_alone) > 1e-4
