"""Work and activations against the formulas that others have published for full training, and what LoRA leaves of them.

Each derivation says which terms of the published formula belong to weight gradients, dropout or weights that LoRA does
not train, and that the rest is what is counted here, exactly.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.known_models import KNOWN_MODELS
from tests.workloads.small_models import CONFIGS
from workloads.activations import activation_bytes
from workloads.counts import (
    PLAIN_ATTENTION,
    Part,
    adapter_bytes,
    backward_flops,
    client_part,
    forward_flops,
    recompute_flops,
)
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape, lora_targets

# GPT-2's block with a fused GELU, as in Megatron: the tanh approximation of OpenAI, written out, keeps more.
MEGATRON = {**KNOWN_MODELS["gpt2"][0], "activation_function": "gelu"}


def blocks(shape: ModelShape, num_blocks: int, targets: str | None, rank: int = 16, *, has_head: bool = False) -> Part:
    """Return blocks in the middle of a model: their input carries a gradient."""
    adapted = () if targets is None else lora_targets(shape, targets)
    return Part(
        shape=shape,
        targets=adapted,
        blocks=range(num_blocks),
        ranks=(rank,) * num_blocks,
        held_ranks=(rank,) * num_blocks,
        trains_a=True,
        has_embeddings=False,
        has_head=has_head,
        has_input_gradient=True,
    )


@given(
    b=st.integers(1, 8),
    s=st.integers(1, 64),
    h=st.integers(1, 16).map(lambda n: 12 * n),
    num_layers=st.integers(1, 12),
    v=st.integers(2, 1000),
)
def test_megatrons_96_bslh2_is_this_and_the_weight_gradients(b: int, s: int, h: int, num_layers: int, v: int) -> None:
    # Narayanan et al. 2021 (arXiv 2104.04473), appendix, equation 3, full training with activations computed again:
    # F = 96 B s l h² (1 + s/(6h) + V/(16 l h)) = 4 (24 B s h² + 4 B s² h) l + 3 · 2 B s h V: a layer forward, again,
    # and twice that backward; the head once forward and twice that backward.
    published = 96 * b * s * num_layers * h * h + 16 * b * s * s * num_layers * h + 6 * b * s * h * v
    config = {**MEGATRON, "n_embd": h, "n_head": 12, "n_inner": None, "n_layer": num_layers, "vocab_size": v}
    frozen = blocks(ModelShape.from_config(config), num_layers, None, has_head=True)
    mine = sum(count(frozen, b, s, PLAIN_ATTENTION) for count in (forward_flops, backward_flops, recompute_flops))
    # Frozen weights have no gradients: 2 FLOPs for each weight and token, of layers (12 h²) and head (V h). Attention
    # multiplies no weights, so all of its backward stays.
    weight_gradients = 2 * b * s * (12 * h * h * num_layers + v * h)
    assert mine + weight_gradients == published


def test_kaplans_6_n_is_4_n_and_the_weight_gradients() -> None:
    # Kaplan et al. 2020 (arXiv 2001.08361), table 1 and section 2.1: N = 12 n_layer d_model² without embeddings,
    # forward 2 N + 2 n_layer n_ctx d_attn a token, backward twice that: C = 6 N without the context term.
    gpt2 = ModelShape.from_config(KNOWN_MODELS["gpt2"][0])
    n = 12 * 12 * 768**2
    assert n == 84_934_656
    assert gpt2.num_blocks * gpt2.block.num_linear_weights == n
    frozen, tokens = blocks(gpt2, 12, None), 4 * 512
    forward = forward_flops(frozen, 4, 512, PLAIN_ATTENTION)
    backward = backward_flops(frozen, 4, 512, PLAIN_ATTENTION)
    attention = 12 * 4 * 4 * 512**2 * 768  # 12 layers, 4 sequences: q kᵀ and weights v, without skipping the mask
    assert forward == 2 * n * tokens + attention
    assert backward == 2 * n * tokens + 2 * attention
    # A full training step has 2 N a token more.
    assert forward + backward - 3 * attention + 2 * n * tokens == 6 * n * tokens


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_lora_training_of_a_block_costs_4_p_in_every_family(family: str) -> None:
    shape = ModelShape.from_config(CONFIGS[family])
    part, p_lin = blocks(shape, 1, "all-linear", rank=1), shape.block.num_linear_weights
    # One sequence of one token: attention 4 heads head_dim forwards, twice that backwards.
    attention = 3 * 4 * shape.block.num_heads * shape.block.head_dim
    adapters = 6 * sum(linear.d_in + linear.d_out for linear in shape.block.linears)
    flops = sum(count(part, 1, 1, PLAIN_ATTENTION) for count in (forward_flops, backward_flops))
    assert flops == 4 * p_lin + attention + adapters


def test_korthikantis_34_sbh_less_dropout_is_what_adapters_on_every_linear_keep() -> None:
    # Korthikanti et al. 2022 (arXiv 2205.05198), section 4.1, a layer in 16 bit: attention 11 sbh + 5 a s² b, MLP
    # 19 sbh, LayerNorms 4 sbh. Of these 2 sbh and the mask of a s² b are masks of dropout, which is off; a fused kernel
    # keeps none of the s² terms (they are named there as what to compute again, section 5) but the log of their sums.
    # Every linear is adapted here, and an adapter needs its input as a trained weight would: the other 32 sbh stay.
    shape = ModelShape.from_config(MEGATRON)
    h, heads, rank, b, s = 768, 12, 16, 2, 24
    published = (34 - 2) * s * b * h
    in_float32 = 2 * published
    log_sums = 4 * heads * s * b
    norm_statistics = 2 * 2 * 4 * s * b  # mean and 1/deviation of two norms
    of_adapters = 4 * 4 * rank * s * b  # A x of four linears, which full training does not have
    assert activation_bytes(blocks(shape, 1, "all-linear"), b, s, "float32") == (
        in_float32 + log_sums + norm_statistics + of_adapters
    )


def test_with_adapters_on_attention_alone_the_inputs_of_the_mlps_linears_are_not_kept() -> None:
    # Of Korthikanti's 19 sbh the inputs of the two linears are 2 and 8 sbh; the 8 of the GELU's input stay.
    shape, b, s = ModelShape.from_config(MEGATRON), 2, 24
    every, attention = (blocks(shape, 1, targets) for targets in ("all-linear", "attention"))
    saved = activation_bytes(every, b, s, "float32") - activation_bytes(attention, b, s, "float32")
    assert saved == 2 * (2 + 8) * s * b * 768 + 2 * 4 * 16 * s * b  # and A x of the two


def test_an_eager_kernel_keeps_korthikantis_softmax() -> None:
    # 2 a s² b of softmax output in 16 bit; GPT-Neo has it in float32, once: without dropout the product with v reads
    # the same tensor. The part that grows with s² is f(2 s) - 2 f(s) = 2 · (4 a s² b).
    shape = ModelShape.from_config(CONFIGS["gpt_neo"])
    part, b, s = blocks(shape, 1, "attention"), 3, 10
    once, twice = (activation_bytes(part, b, length, "float32") for length in (s, 2 * s))
    assert twice - 2 * once == 2 * 4 * shape.block.num_heads * s**2 * b


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_checkpointing_keeps_2_sbh_a_layer_in_16_bit(family: str) -> None:
    # Korthikanti et al. 2022, section 5: full recomputation keeps the input of each layer, 2 sbh.
    shape = ModelShape.from_config(CONFIGS[family])
    b, s = 2, 10
    three, two = (
        activation_bytes(blocks(shape, num, "attention"), b, s, "bfloat16", checkpointing=True) for num in (3, 2)
    )
    assert three - two == 2 * s * b * shape.hidden_size


def test_gpt2_with_rank_16_on_attention_travels_as_exactly_3538944_bytes() -> None:
    # c_attn 16 · (768 + 2,304) and c_proj 16 · (768 + 768) values in each of 12 blocks, 4 bytes each.
    gpt2 = ModelShape.from_config(KNOWN_MODELS["gpt2"][0])
    lora = LoraSpec(targets=lora_targets(gpt2, "attention"), rank=16, cut_rank=16, cut_rank_sides="none")
    assert adapter_bytes(client_part(gpt2, lora, 12)) == 12 * 16 * (768 + 2304 + 768 + 768) * 4 == 3_538_944
