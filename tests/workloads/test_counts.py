"""FLOPs and sizes against numbers derived by hand and formulas published by others."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.known_models import KNOWN_MODELS
from tests.workloads.small_models import CONFIGS
from workloads.activations import activation_bytes
from workloads.counts import (
    PLAIN_ATTENTION,
    AttentionKernel,
    Part,
    adapter_bytes,
    adapter_parameters,
    backward_flops,
    base_bytes,
    base_parameters,
    client_part,
    forward_flops,
    held_parameters,
    label_bytes,
    logits_bytes,
    optimizer_bytes_touched,
    received_bytes,
    server_part,
)
from workloads.ranks import CutRankSides, LoraSpec
from workloads.shapes import ModelShape, lora_targets

GPT2 = ModelShape.from_config(KNOWN_MODELS["gpt2"][0])
D, BLOCKS, VOCAB = 768, 12, 50257
BLOCK_WEIGHTS = 12 * D * D  # qkv 3 d², output d², MLP 2 · 4 d²
SKIPPING = AttentionKernel(skips_mask=True)


def lora(shape: ModelShape = GPT2, targets: str = "attention", sides: CutRankSides = "both") -> LoraSpec:
    return LoraSpec(targets=lora_targets(shape, targets), rank=16, cut_rank=8, cut_rank_sides=sides)


def one_block(*, input_gradient: bool, targets: str = "attention") -> Part:
    """A block of GPT-2 with rank 16, without embeddings or head."""
    return Part(
        shape=GPT2,
        targets=lora_targets(GPT2, targets),
        blocks=range(1),
        ranks=(16,),
        held_ranks=(16,),
        trains_a=True,
        has_embeddings=False,
        has_head=False,
        has_input_gradient=input_gradient,
    )


def test_forward_flops_are_those_of_narayanan() -> None:
    # Narayanan et al. 2021 (arXiv 2104.04473), appendix: a layer 24 B s h² + 4 B s² h, the logits 2 B s h V.
    batch, length = 4, 512
    layers = BLOCKS * (24 * batch * length * D**2 + 4 * batch * length**2 * D)
    bare = replace(client_part(GPT2, lora(), BLOCKS), targets=())
    assert forward_flops(bare, batch, length, PLAIN_ATTENTION) == layers + 2 * batch * length * D * VOCAB


def test_forward_flops_with_a_skipped_mask_are_those_of_kaplan() -> None:
    # Kaplan et al. 2020 (arXiv 2001.08361), table 1: 2 N + 2 n_layer n_ctx d_attn a token, N without embeddings.
    length = 1024
    per_token = 2 * BLOCKS * BLOCK_WEIGHTS + 2 * BLOCKS * length * D
    bare = replace(client_part(GPT2, lora(), BLOCKS), targets=(), has_head=False)
    assert forward_flops(bare, 1, length, SKIPPING) == length * per_token


def test_training_adapters_of_a_block_costs_4_p_not_6_p() -> None:
    batch, length = 2, 64
    part, tokens = one_block(input_gradient=True), 128
    flops = forward_flops(part, batch, length, PLAIN_ATTENTION) + backward_flops(part, batch, length, PLAIN_ATTENTION)
    # Linears 2 P + 2 P. Attention 4 T d forwards, twice that backwards. Adapters 2 r forwards, 4 r backwards, times the
    # widths d_in + d_out: 768 + 2304 of c_attn and 768 + 768 of c_proj.
    adapters = 6 * 16 * (768 + 2304 + 768 + 768)
    assert flops == tokens * (4 * BLOCK_WEIGHTS + 12 * length * D + adapters)
    assert flops < tokens * 4.2 * BLOCK_WEIGHTS


def test_the_lowest_adapted_block_passes_no_gradient_below_its_first_adapter() -> None:
    above, lowest = one_block(input_gradient=True), one_block(input_gradient=False)
    saved = backward_flops(above, 1, 1, PLAIN_ATTENTION) - backward_flops(lowest, 1, 1, PLAIN_ATTENTION)
    # c_attn is the first linear: neither its base (2 · 768 · 2304) nor its A (2 · 16 · 768) is passed.
    assert saved == 2 * 768 * 2304 + 2 * 16 * 768


def test_with_adapters_on_the_mlp_alone_the_lowest_attention_is_not_differentiated() -> None:
    above = one_block(input_gradient=True, targets="mlp")
    lowest = one_block(input_gradient=False, targets="mlp")
    saved = backward_flops(above, 1, 1, PLAIN_ATTENTION) - backward_flops(lowest, 1, 1, PLAIN_ATTENTION)
    # c_attn 3 d², attn.c_proj d² and c_fc 4 d² pass no gradient, nor does A of c_fc; attention on 1 token: 2 · 4 d.
    assert saved == 2 * (3 + 1 + 4) * D * D + 2 * 16 * D + 8 * D


def test_a_skipped_mask_halves_attention_and_recomputing_adds_a_half() -> None:
    part, length = one_block(input_gradient=True), 64
    square = 4 * length * length * D
    whole, half = (forward_flops(part, 1, length, kernel) for kernel in (PLAIN_ATTENTION, SKIPPING))
    assert whole - half == square // 2
    recomputing = AttentionKernel(recomputes=True)
    twice, two_and_a_half = (backward_flops(part, 1, length, kernel) for kernel in (PLAIN_ATTENTION, recomputing))
    assert two_and_a_half - twice == square // 2


def test_attention_is_as_wide_as_the_window_at_most() -> None:
    shape = ModelShape.from_config(CONFIGS["mistral"])  # window 16, 4 heads of 8, 4 blocks
    unbounded = replace(shape, attention_windows=(None,) * 4)
    for length, pairs, window_pairs in [(10, 100, 100), (40, 1600, 640)]:  # T · min(T, w)
        flops, bounded = (
            forward_flops(client_part(s, lora(s), 4), 1, length, PLAIN_ATTENTION) for s in (unbounded, shape)
        )
        assert flops - bounded == 4 * 4 * 32 * (pairs - window_pairs)
    # Skipping the mask of 40 tokens: the first 16 meet 16²/2 keys in all, the other 24 meet 16 each: 512 of 640 pairs.
    whole, skipped = (
        forward_flops(client_part(shape, lora(shape), 4), 1, 40, kernel) for kernel in (PLAIN_ATTENTION, SKIPPING)
    )
    assert whole - skipped == 4 * 4 * 32 * (640 - 512)


def test_the_server_pays_for_the_head_in_both_directions() -> None:
    part = server_part(GPT2, lora(), 6)
    headless = replace(part, has_head=False)
    for count in (forward_flops, backward_flops):
        assert count(part, 2, 8, PLAIN_ATTENTION) - count(headless, 2, 8, PLAIN_ATTENTION) == 2 * 16 * D * VOCAB


@pytest.mark.parametrize("input_gradient", [True, False])
def test_frozen_rows_are_computed_with_and_pass_gradients_on_but_have_none(input_gradient: bool) -> None:
    whole = one_block(input_gradient=input_gradient)
    frozen, excluded = replace(whole, ranks=(6,)), replace(whole, ranks=(6,), held_ranks=(6,))
    assert forward_flops(frozen, 1, 1, PLAIN_ATTENTION) == forward_flops(whole, 1, 1, PLAIN_ATTENTION)
    extra = backward_flops(frozen, 1, 1, PLAIN_ATTENTION) - backward_flops(excluded, 1, 1, PLAIN_ATTENTION)
    # 10 rows: from B's side to A x and on to x, 2 (d_out + d_in) each; c_attn only where its input carries a gradient.
    assert extra == 2 * 10 * ((768 + 768) + (2304 + 768 if input_gradient else 0))
    saved = backward_flops(whole, 1, 1, PLAIN_ATTENTION) - backward_flops(frozen, 1, 1, PLAIN_ATTENTION)
    # They have no gradients of A and B themselves; below the lowest adapter nothing passes through them either.
    assert saved == 2 * 10 * (768 + 768 + 768 + 2304 + (0 if input_gradient else 2304))


@pytest.mark.parametrize("input_gradient", [True, False])
def test_an_a_that_is_not_trained_has_no_gradient(input_gradient: bool) -> None:
    whole = one_block(input_gradient=input_gradient)
    of_b = replace(whole, trains_a=False)
    saved = backward_flops(whole, 1, 1, PLAIN_ATTENTION) - backward_flops(of_b, 1, 1, PLAIN_ATTENTION)
    # A's gradient 2 r d_in of both linears; without a gradient at its input c_attn needs none at A x either.
    assert saved == 2 * 16 * (768 + 768 + (0 if input_gradient else 2304))
    assert optimizer_bytes_touched(of_b) == 28 * 16 * (2304 + 768)


def test_what_travels_of_adapters_is_what_is_trained_up_and_what_is_held_down() -> None:
    frozen, of_b = (replace(lora(), **changes) for changes in ({"dormant": "frozen"}, {"trains_a": False}))
    part = client_part(GPT2, frozen, 2)
    assert (adapter_bytes(part), received_bytes(part)) == (4 * 4608 * (16 + 8), 4 * 4608 * (16 + 16))
    assert held_parameters(part) == 4608 * (16 + 16)
    part = client_part(GPT2, of_b, 2)  # of 4,608 values of a row 2,304 + 768 are B's
    assert adapter_bytes(part) == received_bytes(part) == 4 * 3072 * (16 + 8)
    assert held_parameters(part) == 4608 * (16 + 8)


def test_gpt2_with_rank_16_on_attention_has_884736_adapter_values() -> None:
    # A block: c_attn 16 · (768 + 2304) + attn.c_proj 16 · (768 + 768) = 73,728. 12 blocks, 4 bytes a value.
    part = client_part(GPT2, lora(), BLOCKS)
    assert adapter_parameters(part) == 884_736
    assert adapter_bytes(part) == 3_538_944


def test_adapters_of_a_part_are_counted_at_its_ranks() -> None:
    # Cut 2: client blocks at ranks 16, 8; server blocks at 8, then 9 at 16; 4,608 values for each rank.
    assert adapter_bytes(client_part(GPT2, lora(), 2)) == 4 * 4608 * (16 + 8)
    assert adapter_bytes(server_part(GPT2, lora(), 2)) == 4 * 4608 * (8 + 9 * 16)


def test_an_optimizer_step_moves_seven_floats_a_value() -> None:
    # Reads weight, gradient, two moments; writes weight, two moments.
    assert optimizer_bytes_touched(client_part(GPT2, lora(), BLOCKS)) == 7 * 4 * 884_736


def test_base_parameters_of_the_parts() -> None:
    # A block: 12 d² weights, biases 3d + d + 4d + d, two norms of 2d.
    block = BLOCK_WEIGHTS + 13 * D
    client = client_part(GPT2, lora(), 5)
    assert base_parameters(client) == (VOCAB + 1024) * D + 5 * block
    assert base_parameters(server_part(GPT2, lora(), 5)) == 7 * block + 2 * D + VOCAB * D
    assert base_parameters(client_part(GPT2, lora(), BLOCKS)) == 124_439_808  # the tied matrix once
    assert base_bytes(client, "bfloat16") == 2 * base_parameters(client)


def test_gpt_neo_holds_a_mask_in_every_block() -> None:
    shape = ModelShape.from_config(CONFIGS["gpt_neo"])
    part = client_part(shape, lora(shape), 2)
    assert base_bytes(part, "float32") == 4 * base_parameters(part) + 2 * 64 * 64


def test_labels_and_lengths_travel_as_int32() -> None:
    assert label_bytes(4, 128) == 4 * (4 * 128 + 4)


def test_three_float32_tensors_of_logits_are_alive_at_once() -> None:
    assert logits_bytes(GPT2, 4, 128) == 3 * 4 * 4 * 128 * VOCAB


def test_activations_of_a_block_of_gpt2() -> None:
    # Bytes a token: two norms 4 (768 + 2); c_attn's input 4 · 768, q, k, v and output 4 · 4 · 768, log-sum-exp 4 · 12;
    # A x of two adapters 2 · 4 · 16; four tensors as wide as the MLP 4 · 4 · 3072. The output projection reads what
    # attention has kept.
    per_token = 2 * 4 * 770 + 4 * 768 + 16 * 768 + 48 + 128 + 16 * 3072
    assert per_token == 70_848
    assert activation_bytes(one_block(input_gradient=True), 3, 20, "float32") == 60 * per_token
    # Embeddings carry no gradient, so the first block's first norm keeps nothing.
    assert activation_bytes(one_block(input_gradient=False), 3, 20, "float32") == 60 * (per_token - 4 * 770)


SHAPES = [ModelShape.from_config(config) for config in CONFIGS.values()]


@given(
    shape=st.sampled_from(SHAPES),
    cut=st.integers(1, 3),
    batch=st.integers(1, 5),
    length=st.integers(1, 40),
    targets=st.sampled_from(["attention", "mlp", "all-linear"]),
    kernel=st.builds(AttentionKernel, skips_mask=st.booleans(), recomputes=st.booleans()),
)
def test_cutting_moves_work_and_makes_none(
    shape: ModelShape, cut: int, batch: int, length: int, targets: str, kernel: AttentionKernel
) -> None:
    spec = lora(shape, targets, "none")
    whole = client_part(shape, spec, shape.num_blocks)
    client, server = client_part(shape, spec, cut), server_part(shape, spec, cut)
    for count in (forward_flops, backward_flops):
        parts = count(client, batch, length, kernel) + count(server, batch, length, kernel)
        assert parts == count(whole, batch, length, kernel)
    assert adapter_parameters(client) + adapter_parameters(server) == adapter_parameters(whole)


@given(
    shape=st.sampled_from(SHAPES),
    cut=st.integers(1, 3),
    batch=st.integers(1, 5),
    length=st.integers(1, 40),
    dtype=st.sampled_from(["float32", "bfloat16"]),
)
def test_more_tokens_never_take_less(shape: ModelShape, cut: int, batch: int, length: int, dtype: str) -> None:
    for part in (client_part(shape, lora(shape), cut), server_part(shape, lora(shape), cut)):
        for more in ((batch + 1, length), (batch, length + 1)):
            assert forward_flops(part, *more, SKIPPING) > forward_flops(part, batch, length, SKIPPING)
            assert backward_flops(part, *more, SKIPPING) > backward_flops(part, batch, length, SKIPPING)
            assert activation_bytes(part, *more, dtype) > activation_bytes(part, batch, length, dtype)
