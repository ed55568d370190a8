"""Codecs as they are applied: sizes, errors, means, and the gradient's way back."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.workloads.small_models import single_thread
from tests.workloads.test_tasks import RECIPE
from workloads.batches import Batch
from workloads.codec_bytes import FP32, Codec, encoded_bytes, num_kept, tile_size
from workloads.codecs import (
    Boundary,
    StepNoise,
    decode,
    decode_at,
    encode,
    encode_at,
    noise,
    roundtrip,
    send,
    sent_positions,
)

pytestmark = pytest.mark.torch

RANDTOPK = Codec(kind="randtopk", frac=0.25, explore_frac=0.2)
CODECS = (
    *(Codec(kind=kind) for kind in ("fp32", "bf16", "fp16", "int8", "int4", "hadamard4")),
    Codec(kind="topk", frac=0.25),
    RANDTOPK,
)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@st.composite
def vectors(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """A tensor [2, 3, d] of any magnitude, with uniform numbers of its shape."""
    hidden, seed = draw(st.sampled_from([1, 2, 7, 12, 32, 48])), draw(st.integers(0, 2**31))
    x = normal(2, 3, hidden, seed=seed) * 10.0 ** draw(st.integers(-6, 4))
    return x * (uniform(2, 3, hidden, seed=seed) > draw(st.sampled_from([0.0, 0.5, 1.0]))), uniform(2, 3, hidden)


@pytest.mark.parametrize("codec", CODECS, ids=str)
@pytest.mark.parametrize("hidden", [1, 31, 48, 64, 66_000])
def test_what_travels_has_the_bytes_that_are_charged(codec: Codec, hidden: int) -> None:
    packed = encode(normal(2, 3, hidden), codec, uniform(2, 3, hidden))
    assert sum(tensor.nbytes for tensor in packed) == encoded_bytes(codec, 2, 3, hidden)


def test_gradients_of_sent_activations_travel_as_values_alone() -> None:
    codec, x = Codec(kind="topk", frac=0.1), normal(2, 3, 48)
    positions = sent_positions(encode(x, codec), 48)
    [values] = encode_at(x, positions)
    assert values.nbytes == encoded_bytes(codec, 2, 3, 48, with_indices=False)
    assert torch.equal(decode_at((values,), positions, 48), roundtrip(x, codec))


def error(x: Tensor, codec: Codec, u: Tensor) -> Tensor:
    return (roundtrip(x, codec, u) - x).abs()


@given(vectors())
def test_sixteen_bit_types_err_by_half_a_unit_of_their_last_place(case: tuple[Tensor, Tensor]) -> None:
    x, u = case
    # bfloat16 has 8 significant bits and float32's range, float16 has 11 and steps of 2^-24 below 2^-14.
    assert (error(x, Codec(kind="bf16"), u) <= x.abs() * 2.0**-8).all()
    assert (error(x, Codec(kind="fp16"), u) <= torch.maximum(x.abs() * 2.0**-11, torch.tensor(2.0**-25))).all()


def test_float16_saturates_instead_of_overflowing() -> None:
    assert roundtrip(torch.tensor([1e6, -1e6]), Codec(kind="fp16")).tolist() == [65_504, -65_504]


@given(vectors())
def test_eight_bits_err_by_half_a_step_of_the_largest_value(case: tuple[Tensor, Tensor]) -> None:
    x, u = case
    step = x.abs().amax(-1, keepdim=True) / 127
    assert (error(x, Codec(kind="int8"), u) <= step * (0.5 + 1e-4)).all()


@given(vectors())
def test_four_bits_err_by_less_than_a_step_of_the_largest_value(case: tuple[Tensor, Tensor]) -> None:
    x, u = case
    step = x.abs().amax(-1, keepdim=True) / 7
    assert (error(x, Codec(kind="int4"), u) <= step * (1 + 1e-4)).all()


@given(vectors())
def test_rotated_four_bits_err_by_half_a_step_in_the_rotated_tile(case: tuple[Tensor, Tensor]) -> None:
    # Each of n rotated values errs by half a step of the tile's largest, which is at most its norm; rotation keeps
    # norms. So |error| <= sqrt(n) · step / 2 with step <= |tile| / 7.
    x, u = case
    size = tile_size(x.shape[-1])
    tiles = x.reshape(2, 3, -1, size).double()
    errors = (roundtrip(x, Codec(kind="hadamard4"), u).double() - x.double()).reshape(tiles.shape)
    assert (errors.norm(dim=-1) <= tiles.norm(dim=-1) * math.sqrt(size) / 14 * (1 + 1e-3) + 1e-30).all()


def test_rotation_takes_the_sting_out_of_an_outlier() -> None:
    # One value of 100 among 255 of about 1: by itself it sets a step of 14, and all others are lost. Rotated it is
    # spread: 256 values of 100 / 16 = 6.25, give or take 1, whose step is about 1.
    x = normal(1, 256)
    x[0, 7] = 100.0
    plain = error(x, Codec(kind="int4"), torch.full_like(x, 0.5))[0]
    rotated = error(x, Codec(kind="hadamard4"), x)[0]
    others = torch.arange(256) != 7
    assert rotated[others].square().mean() < 0.25 * plain[others].square().mean()


def test_stochastic_rounding_is_right_on_average() -> None:
    # Each draw has a standard deviation of at most half a step, so the mean of 4,000 has one of 0.008 steps; 6 of these
    # for 32 values leave a chance of 1e-7 to fail.
    x = normal(1, 32)
    step = x.abs().max() / 7
    mean = roundtrip(x.expand(4000, 32), Codec(kind="int4"), uniform(4000, 32)).mean(0)
    assert ((mean - x[0]).abs() < 0.05 * step).all()
    nearest = (x / step).round() * step
    assert (nearest - x).abs().max() > 0.2 * step  # rounding to the nearest would not pass


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_zero_stays_zero(codec: Codec) -> None:
    assert not roundtrip(torch.zeros(2, 12), codec, uniform(2, 12)).any()


@given(vectors())
def test_topk_keeps_the_largest_values_and_nothing_else(case: tuple[Tensor, Tensor]) -> None:
    x, _ = case
    codec = Codec(kind="topk", frac=0.25)
    arrived, kept = roundtrip(x, codec), num_kept(codec, x.shape[-1])
    sent = send(x, codec)[1]
    assert sent.shape == (2, 3, kept)
    mask = torch.zeros_like(x, dtype=torch.bool).scatter(-1, sent, True)
    assert (mask.sum(-1) == kept).all()  # no position twice
    assert torch.equal(arrived, torch.where(mask, x.bfloat16().float(), 0))
    others = torch.where(mask, 0, x.abs()).amax(-1)
    assert (torch.where(mask, x.abs(), math.inf).amin(-1) >= others).all()


def test_randtopk_explores_as_often_as_it_is_told() -> None:
    # Half of 2 values is 1 draw: with probability 0.2 the smaller one. 20,000 draws have a standard deviation of 0.003.
    codec = Codec(kind="randtopk", frac=0.5, explore_frac=0.2)
    x = torch.tensor([[1.0, 3.0]]).expand(20_000, 2)
    arrived = roundtrip(x, codec, uniform(20_000, 2))
    assert torch.equal((arrived != 0).sum(-1), torch.ones(20_000, dtype=torch.int64))
    assert (arrived[:, 0] != 0).double().mean().item() == pytest.approx(0.2, abs=0.015)


def test_randtopk_draws_without_replacement_by_its_probabilities() -> None:
    # 2 of 4 values, alpha 0.2: the two largest have p = 0.4 each, the others 0.1. Both largest in two draws:
    # 2 · 0.4 · 0.4 / 0.6 = 0.533.
    x = torch.tensor([[1.0, 4.0, 2.0, 3.0]]).expand(20_000, 4)
    arrived = roundtrip(x, Codec(kind="randtopk", frac=0.5, explore_frac=0.2), uniform(20_000, 4))
    both = ((arrived[:, 1] != 0) & (arrived[:, 3] != 0)).double().mean().item()
    assert both == pytest.approx(0.533, abs=0.02)


def test_randtopk_explores_more_than_its_first_draw_as_multinomial_draws_do() -> None:
    # 40 of 400 values at alpha 0.1. None of the largest is drawn twice, so that later draws miss them more often.
    codec = Codec(kind="randtopk", frac=0.1, explore_frac=0.1)
    x, kept, num_vectors = torch.arange(1.0, 401.0), 40, 2_000
    sent = send(x.expand(num_vectors, 400), codec, uniform(num_vectors, 400))[1]
    chances = torch.where(x > 360, 0.9 / kept, 0.1 / 360).expand(num_vectors, 400)
    drawn = torch.multinomial(chances, kept, generator=torch.Generator().manual_seed(0))
    explored = [(positions < 360).double().mean().item() for positions in (sent, drawn)]
    assert explored[0] == pytest.approx(explored[1], abs=0.006)  # each has a standard deviation below 0.0015
    assert explored[0] == pytest.approx(0.18, abs=0.01)


@given(vectors(), st.sampled_from(CODECS))
def test_a_second_crossing_of_what_arrived_is_no_worse_than_the_first(
    case: tuple[Tensor, Tensor], codec: Codec
) -> None:
    x, u = case
    arrived = roundtrip(x, codec, u)
    assert arrived.shape == x.shape
    assert arrived.isfinite().all()
    if codec.kind in ("fp32", "bf16", "fp16", "topk"):  # projections: what has arrived passes unchanged
        assert torch.equal(roundtrip(arrived, codec, u), arrived)


def test_a_lossless_codec_hands_the_tensor_over_in_its_own_precision() -> None:
    x = normal(2, 3, 8).double()
    assert send(x, FP32)[0] is x
    assert roundtrip(x, Codec(kind="int8")).dtype == torch.float64


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_coding_works_for_many_clients_at_once(codec: Codec) -> None:
    x, u = normal(4, 2, 3, 48), uniform(4, 2, 3, 48)

    def code(x: Tensor, u: Tensor) -> Tensor:
        return decode(encode(x, codec, u), codec, 48)

    assert torch.equal(torch.func.vmap(code)(x, u), torch.stack([code(x[k], u[k]) for k in range(4)]))


def cross(
    x: Tensor, activations: Codec, gradients: Codec, up: Tensor | None = None, down: Tensor | None = None
) -> Tensor:
    arrived: Tensor = Boundary.apply(x, activations, gradients, up, down)[0]  # type: ignore[no-untyped-call]
    return arrived


def by_messages(x: Tensor, up: Tensor, down: Tensor, weight: Tensor, activations: Codec, gradients: Codec) -> Tensor:
    """The gradient of sum(weight · arrived²) as a client and a server make it, who exchange messages."""
    arrived, positions = send(x, activations, up)
    received, _ = send(2 * weight * arrived, gradients, down, positions)
    return received


@pytest.mark.parametrize("activations", CODECS, ids=str)
@pytest.mark.parametrize("gradients", CODECS, ids=str)
def test_a_boundary_inside_a_model_is_an_exchange_of_messages(activations: Codec, gradients: Codec) -> None:
    x, up, down, weight = (
        normal(3, 2, 5, 24),
        uniform(3, 2, 5, 24),
        uniform(3, 2, 5, 24, seed=2),
        normal(3, 2, 5, 24, seed=3),
    )

    def loss(x: Tensor, up: Tensor, down: Tensor, weight: Tensor) -> Tensor:
        return (weight * cross(x * 1.0, activations, gradients, up, down) ** 2).sum()

    expected = [by_messages(x[k], up[k], down[k], weight[k], activations, gradients) for k in range(3)]
    assert torch.equal(torch.func.vmap(torch.func.grad(loss))(x, up, down, weight), torch.stack(expected))
    leaf = x[0].clone().requires_grad_()
    torch.autograd.backward(loss(leaf, up[0], down[0], weight[0]))
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, expected[0])


def test_gradients_pass_a_dense_codec_straight_through() -> None:
    x, weight = normal(2, 8), normal(2, 8, seed=1)
    leaf = x.clone().requires_grad_()
    torch.autograd.backward((weight * cross(leaf * 1.0, Codec(kind="int8"), FP32)).sum())
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, weight)  # as if the codec had changed nothing


def test_only_gradients_of_sent_activations_come_back() -> None:
    codec = Codec(kind="topk", frac=0.25)
    x, weight = normal(2, 8), normal(2, 8, seed=1)
    leaf = x.clone().requires_grad_()
    torch.autograd.backward((weight * cross(leaf * 1.0, codec, codec)).sum())
    sent = torch.zeros(2, 8, dtype=torch.bool).scatter(-1, send(x, codec)[1], True)
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, torch.where(sent, weight.bfloat16().float(), 0))


def batch(seed: int = 0) -> Batch:
    ids = np.random.default_rng(seed).integers(0, 9, (2, 5)).astype(np.int32)
    return Batch(ids=ids, labels=ids.copy(), lengths=np.array([5, 5], np.int32))


def test_noise_depends_on_seed_batch_step_and_direction_and_on_nothing_of_the_machine() -> None:
    stochastic = replace(RECIPE, activation_codec=Codec(kind="int4"), gradient_codec=Codec(kind="int4"))
    state = torch.get_rng_state()
    first = StepNoise.of(stochastic, batch(), 3, 8, CPU)
    again = StepNoise.of(replace(stochastic, numerics="elsewhere"), batch(), 3, 8, CPU)
    assert first.up is not None
    assert first.down is not None
    assert again.up is not None
    assert torch.equal(first.up, again.up)
    others = [
        first.down,
        StepNoise.of(stochastic, batch(), 4, 8, CPU).up,
        StepNoise.of(stochastic, batch(1), 3, 8, CPU).up,
        StepNoise.of(replace(stochastic, adapter_seed=7), batch(), 3, 8, CPU).up,
    ]
    assert all(other is not None and not torch.equal(first.up, other) for other in others)
    assert torch.equal(torch.get_rng_state(), state)


def test_codecs_that_draw_nothing_are_given_nothing() -> None:
    assert StepNoise.of(RECIPE, batch(), 0, 8, CPU) == StepNoise(up=None, down=None)
    assert noise(Codec(kind="int8"), (2, 2), "seed", CPU) is None
