"""The parts of a split model compute, to the bit, what the whole model computes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tests.workloads.reference import (
    ALPHA,
    BLOCKS,
    PEFT_WARNING,
    RANK,
    random_batch,
    random_model,
    targets_of,
    whole_loss,
)
from tests.workloads.small_models import CONFIGS, single_thread
from workloads.anatomy import UnsupportedModelError
from workloads.batches import Batch
from workloads.split import SplitModel, Upload, next_token_loss, next_tokens

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(PEFT_WARNING)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


def with_lora(model: PreTrainedModel, family: str, dropout: float = 0.0) -> Any:
    config = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=dropout,
        target_modules=list(targets_of(family)),
        fan_in_fan_out=family == "gpt2",
    )
    adapted = get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:  # at zero, as PEFT leaves it, no gradient would reach A
            torch.nn.init.normal_(parameter, std=0.05)
    return adapted.train()


def upload_of(batch: Batch, activations: torch.Tensor) -> Upload:
    return Upload(
        activations=activations.detach().float(),
        labels=torch.from_numpy(batch.labels),
        lengths=torch.from_numpy(batch.lengths),
    )


def split_step(split: SplitModel, cut: int, batch: Batch) -> torch.Tensor:
    client, server = split.parts(cut)
    activations = client.forward(torch.from_numpy(batch.ids))
    reply = server.step(upload_of(batch, activations))
    client.backward(activations, reply.gradients)
    return reply.loss


def gradients(model: Any) -> dict[str, torch.Tensor]:
    taken = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    return taken


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("family", CONFIGS)
def test_loss_and_every_lora_gradient_equal_the_whole_models_to_the_bit(family: str, dropout: float) -> None:
    # With dropout, equality also needs that the parts draw the same random numbers in the same order.
    model = random_model(family, dropout=dropout)
    split = SplitModel(model)
    adapted = with_lora(model, family, dropout)
    batch = random_batch(seed=1)
    torch.manual_seed(1)
    loss = whole_loss(adapted, batch)
    torch.autograd.backward(loss)
    expected, drawn = gradients(adapted), torch.get_rng_state()
    assert all(gradient.abs().max() > 0 for gradient in expected.values())
    for cut in range(1, BLOCKS):
        torch.manual_seed(1)
        assert torch.equal(split_step(split, cut, batch), loss.detach()), cut
        actual = gradients(adapted)
        assert all(torch.equal(actual[name], expected[name]) for name in expected), cut
        assert torch.equal(torch.get_rng_state(), drawn), cut


@pytest.mark.parametrize("family", CONFIGS)
def test_the_server_part_runs_no_embedding_and_no_block_of_the_client(family: str) -> None:
    model = random_model(family)
    split = SplitModel(model)
    adapted = with_lora(model, family)
    batch = random_batch(seed=2)
    client, server = split.parts(2)
    upload = upload_of(batch, client.forward(torch.from_numpy(batch.ids)))
    blocks = model.get_submodule(split.anatomy.blocks)
    never = [*blocks[:2], *(m for m in model.modules() if isinstance(m, torch.nn.Embedding))]

    def refuse(*_args: object) -> None:
        pytest.fail("the server part ran a module of the client")

    hooks = [module.register_forward_pre_hook(refuse) for module in never]
    server.step(upload)
    assert len(hooks) >= 3  # two blocks and at least one embedding were watched
    trained = {name for name, gradient in gradients(adapted).items() if gradient is not None}
    assert trained == {n for n, p in adapted.named_parameters() if p.requires_grad and block_in(n) >= 2}


def block_in(name: str) -> int:
    return next(int(part) for part in name.split(".") if part.isdigit())


@pytest.mark.parametrize("family", ["gpt2", "gpt_neo", "gpt_neox"])  # those with a dropout before the first block
def test_the_server_part_draws_no_random_numbers_for_the_embeddings(family: str) -> None:
    model = random_model(family, dropout=0.0)
    split = SplitModel(model)
    [before_blocks] = [model.get_submodule(p) for p in split.anatomy.prelude if "drop" in p]
    before_blocks.p = 0.5
    adapted = with_lora(model, family)
    batch = random_batch(seed=3)
    client, server = split.parts(1)
    before = torch.get_rng_state()
    activations = client.forward(torch.from_numpy(batch.ids))
    after_client = torch.get_rng_state()
    server.step(upload_of(batch, activations))
    assert adapted.training
    assert not torch.equal(before, after_client)  # the client did drop embeddings
    assert torch.equal(torch.get_rng_state(), after_client)


def weights(*modules: torch.nn.Module) -> dict[int, str]:
    return {p.data_ptr(): name for module in modules for name, p in module.named_parameters()}


@pytest.mark.parametrize("family", CONFIGS)
def test_parts_hold_only_their_own_weights_and_copy_none(family: str) -> None:
    model = random_model(family, tie_word_embeddings=False)  # tied weights belong to both parts
    split = SplitModel(model)
    client, server = split.parts(2)
    blocks = model.get_submodule(split.anatomy.blocks)
    before = [model.get_submodule(path) for path in split.anatomy.prelude]
    after = [model.get_submodule(path) for path in split.anatomy.postlude]
    assert weights(client._decoder).keys() == weights(*before, *blocks[:2]).keys()
    assert weights(server._model).keys() == weights(*after, *blocks[2:]).keys()
    assert weights(model).keys() == weights(client._decoder, server._model).keys()


def test_the_whole_model_is_not_changed_by_making_parts() -> None:
    model = random_model("gpt2")
    ids = torch.from_numpy(random_batch(seed=4).ids)
    modules, before = list(model.named_modules()), model(input_ids=ids).logits
    split = SplitModel(model)
    split.parts(2)
    assert [*map(id, dict(model.named_modules()).values())] == [id(module) for _, module in modules]
    assert torch.equal(model(input_ids=ids).logits, before)


def test_what_travels_has_the_size_that_the_clock_charges() -> None:
    batch = random_batch(seed=5, num_samples=3, longest=20)
    split = SplitModel(random_model("llama"))
    client, server = split.parts(1)
    upload = upload_of(batch, client.forward(torch.from_numpy(batch.ids)))
    reply = server.step(upload)
    # fp32 activations and gradients 4·B·T·d = 4·3·20·32; int32 labels 4·B·T; int32 lengths 4·B
    assert upload.activations.nbytes == reply.gradients.nbytes == 4 * 3 * 20 * 32
    assert upload.labels.nbytes == 4 * 3 * 20
    assert upload.lengths.nbytes == 4 * 3


def test_parts_are_made_once_for_each_cut() -> None:
    split = SplitModel(random_model("llama"))
    assert split.parts(2)[0] is split.parts(2)[0]


@pytest.mark.parametrize("cut", [-1, 0, BLOCKS, BLOCKS + 1])
def test_a_cut_that_leaves_a_part_without_blocks_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match=rf"cut {cut} leaves a part without blocks; allowed: 1 to {BLOCKS - 1}"):
        SplitModel(random_model("llama")).parts(cut)


def test_padding_predicts_nothing_whatever_its_labels_say() -> None:
    labels = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 7]], dtype=torch.int32)
    lengths = torch.tensor([4, 2], dtype=torch.int32)
    # each position predicts the next token; a sample's last real token, at length - 1, predicts nothing
    expected = [[6, 7, 8, -100], [6, -100, -100, -100]]
    assert next_tokens(labels, lengths).tolist() == expected


def test_the_loss_is_the_mean_over_predicted_positions() -> None:
    logits = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 2, -100], [3, -100, -100]])
    chances = np.exp(logits.double().numpy())
    chances /= chances.sum(-1, keepdims=True)
    picked = [chances[0, 0, 1], chances[0, 1, 2], chances[1, 0, 3]]
    assert next_token_loss(logits, targets).item() == pytest.approx(-np.log(picked).mean(), rel=1e-6)
    assert next_token_loss(logits, targets, reduction="sum").item() == pytest.approx(-np.log(picked).sum(), rel=1e-6)


def llama_config(**settings: object) -> LlamaConfig:
    return LlamaConfig(**{**CONFIGS["llama"], **settings})


def test_a_model_of_one_block_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"no list of 1 decoder blocks in it \(at least 2 are needed\)"):
        SplitModel(LlamaForCausalLM(llama_config(num_hidden_layers=1)))


class Shuffled(LlamaForCausalLM):  # type: ignore[misc] # transformers has no types
    """Runs its last block first."""

    def forward(self, *args: object, **kwargs: object) -> object:
        layers = self.model.layers
        self.model.layers = torch.nn.ModuleList([layers[-1], *layers[:-1]])
        try:
            return super().forward(*args, **kwargs)
        finally:
            self.model.layers = layers


def test_blocks_that_run_out_of_order_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"blocks \(model\.layers\) do not run once each, in order"):
        SplitModel(Shuffled(llama_config()).eval())


class Peeking(LlamaForCausalLM):  # type: ignore[misc] # transformers has no types
    """Needs token ids after the last block, where a server part has none."""

    def forward(self, input_ids: torch.Tensor | None = None, **kwargs: object) -> object:
        output = super().forward(input_ids=input_ids, **kwargs)
        if input_ids is not None:
            output.logits = output.logits + 1.0
        return output


def test_parts_that_would_compute_something_else_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="Peeking cannot be split: cut after block 1, its parts do not"):
        SplitModel(Peeking(llama_config()).eval())


def test_a_model_that_gives_no_numbers_is_said_to_be_damaged() -> None:
    model = LlamaForCausalLM(llama_config()).eval()
    model.model.norm.weight.data[3] = torch.nan
    with pytest.raises(UnsupportedModelError, match=r"LlamaForCausalLM gives NaN: weights or config\.json are damaged"):
        SplitModel(model)


class Reading(LlamaForCausalLM):  # type: ignore[misc] # transformers has no types
    """Looks up something plain in each of its blocks, as models do whose blocks have different kinds of attention."""

    def forward(self, *args: object, **kwargs: object) -> object:
        assert all(layer.hidden_size == self.config.hidden_size for layer in self.model.layers)
        return super().forward(*args, **kwargs)


def test_a_model_can_read_plain_attributes_of_blocks_that_the_server_part_lacks() -> None:
    torch.manual_seed(0)
    SplitModel(Reading(llama_config()).eval()).parts(2)
