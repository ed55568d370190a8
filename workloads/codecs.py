"""Codecs at the cut, really applied: a tensor is packed as it would travel and unpacked on the other side.

Pure functions of tensors, so that they also work under `torch.func.vmap`; random numbers come in as tensors. Packed
tensors have the very bytes that `codec_bytes.encoded_bytes` counts. A codec passes gradients straight through: they are
sent back by a codec of their own, as if the first one had changed nothing (Bengio et al. 2013, arXiv 1308.3432), except
that where few activations were sent only their gradients come back.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workloads.batches import Batch
from workloads.codec_bytes import Codec, index_bytes, num_kept, tile_size
from workloads.tasks import RULES_WITH_CLIENT_HEAD, Recipe

Packed = tuple[Tensor, ...]
"""What travels: each tensor [..., n] of one token's n values, scales or indices in the last dimension."""

_INT8_STEPS, _INT4_STEPS = 127, 7  # multiples of the scale on either side of 0
_NIBBLE_OFFSET = 8  # -7..7 travel as 1..15
_HALF_MAX = torch.finfo(torch.float16).max
_TINY = torch.finfo(torch.float32).tiny


def encode(x: Tensor, codec: Codec, noise: Tensor | None = None) -> Packed:
    """Return what travels of a tensor [..., d], each vector of width d encoded for itself.

    Args:
        x: what to send.
        codec: how.
        noise: for a stochastic codec, uniform in [0, 1) and of x's shape (`noise`).
    """
    x = x.float()
    match codec.kind:
        case "fp32" | "bf16":
            return (x if codec.kind == "fp32" else x.bfloat16(),)
        case "fp16":
            return (x.clamp(-_HALF_MAX, _HALF_MAX).half(),)  # what is too large becomes the largest, not infinite
        case "int8":
            scale = _scale(x, _INT8_STEPS)
            return (x / scale).round().to(torch.int8), scale
        case "int4":
            assert noise is not None
            scale = _scale(x, _INT4_STEPS)
            # floor(v + u) is v on average: it is the next integer with the probability of v's fractional part.
            return _packed_nibbles((x / scale + noise).floor()), scale
        case "hadamard4":
            tiles = _rotated(_split(x, tile_size(x.shape[-1])))
            scale = _scale(tiles, _INT4_STEPS)
            return _packed_nibbles((tiles / scale).round().flatten(-2)), scale.squeeze(-1)
        case "topk" | "randtopk":
            positions = _positions(x, codec, noise)
            return _values_at(x, positions), positions.to(_index_type(x.shape[-1]))


def decode(packed: Packed, codec: Codec, hidden: int) -> Tensor:
    """Return what arrives: float32 [..., hidden], of what `encode` packed."""
    match codec.kind:
        case "fp32" | "bf16" | "fp16":
            return packed[0].float()
        case "int8":
            return packed[0].float() * packed[1]
        case "int4":
            return _unpacked_nibbles(packed[0], hidden) * packed[1]
        case "hadamard4":
            tiles = _split(_unpacked_nibbles(packed[0], hidden), tile_size(hidden))
            return _rotated(tiles * packed[1].unsqueeze(-1)).flatten(-2)
        case "topk" | "randtopk":
            return _spread(packed[0], sent_positions(packed, hidden), hidden)


def encode_at(x: Tensor, positions: Tensor) -> Packed:
    """Return what travels of a tensor [..., d] whose receiver knows which positions [..., k] are sent: the values."""
    return (_values_at(x.float(), positions),)


def decode_at(packed: Packed, positions: Tensor, hidden: int) -> Tensor:
    """Return what arrives, float32 [..., hidden], of what `encode_at` packed."""
    return _spread(packed[0], positions, hidden)


def sent_positions(packed: Packed, hidden: int) -> Tensor:
    """Return which positions a sparse codec has sent, int64 [..., k]."""
    indices = packed[1].long()
    return indices if index_bytes(hidden) == 4 else indices & 0xFFFF  # two bytes are an unsigned number here


def roundtrip(x: Tensor, codec: Codec, noise: Tensor | None = None) -> Tensor:
    """Return what arrives of a tensor, in its shape and dtype. A lossless codec changes nothing."""
    return send(x, codec, noise)[0]


def send(
    x: Tensor, codec: Codec, noise: Tensor | None = None, positions: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return what arrives of a tensor [..., d], in its dtype, and the positions that were sent of it, int64 [..., k].

    Args:
        x: what to send.
        codec: how.
        noise: see `encode`.
        positions: that the receiver knows, of activations that a sparse codec has sent; a sparse codec sends the values
            there. With k = 0 it chooses for itself.

    A codec that is not sparse sends everything and returns no positions (k = 0).
    """
    hidden = x.shape[-1]
    none = torch.zeros((*x.shape[:-1], 0), dtype=torch.int64, device=x.device)
    if codec.kind == "fp32":
        return x, none
    if codec.is_sparse and positions is not None and positions.shape[-1]:
        return decode_at(encode_at(x, positions), positions, hidden).to(x.dtype), positions
    packed = encode(x, codec, noise)
    arrived = decode(packed, codec, hidden).to(x.dtype)
    return arrived, sent_positions(packed, hidden) if codec.is_sparse else none


@dataclass(frozen=True, kw_only=True)
class StepNoise:
    """The random numbers that one step's codecs take, uniform in [0, 1), [B, T, d]; None where a codec takes none.

    Attributes:
        up, down: at the cut, for activations and for gradients.
        to_head, from_head: where the head is the client's, in front of it.
    """

    up: Tensor | None
    down: Tensor | None
    to_head: Tensor | None = None
    from_head: Tensor | None = None

    @classmethod
    def of(cls, recipe: Recipe, batch: Batch, step: int, hidden: int, device: torch.device) -> "StepNoise":
        """Return the numbers of a client's step; a function of the recipe's seed, the batch and the step alone.

        Nothing of the machine or the software enters, so that every executor draws the same.
        """
        shape = (*batch.ids.shape, hidden)
        codecs = {"up": recipe.activation_codec, "down": recipe.gradient_codec}
        if recipe.learning_rule in RULES_WITH_CLIENT_HEAD:
            codecs |= {"to_head": recipe.activation_codec, "from_head": recipe.gradient_codec}
        seed = f"{recipe.adapter_seed} {batch.digest} {step}"
        return cls(**{way: noise(codec, shape, f"{seed} {way}", device) for way, codec in codecs.items()})


def noise(codec: Codec, shape: Sequence[int], seed: str, device: torch.device) -> Tensor | None:
    """Return uniform numbers in [0, 1) that depend on the seed and the kind of device; None if the codec takes none."""
    if not codec.is_stochastic:
        return None
    digest = hashlib.sha256(seed.encode()).digest()
    draws = torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    return torch.rand(tuple(shape), generator=draws, device=device)


class Boundary(torch.autograd.Function):
    """The cut inside a whole model: activations pass through one codec, gradients back through another.

    `Boundary.apply(x, activation_codec, gradient_codec, up, down)` returns what arrives of x and the positions sent;
    `up` and `down` are a `StepNoise`'s. Computes what two parts that exchange messages compute, and works under
    `torch.func.vmap` and `torch.func.grad`.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, activation_codec: Codec, gradient_codec: Codec, up: Tensor | None, down: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return what arrives, and the positions sent."""
        del gradient_codec, down
        arrived, positions = send(x, activation_codec, up)
        return arrived.clone() if arrived is x else arrived, positions

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep what the way back needs."""
        _, _, ctx.gradient_codec, _, down = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1], down)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient by x as the client receives it."""
        positions, down = ctx.saved_tensors
        arrived, _ = send(gradients[0], ctx.gradient_codec, down, positions)
        return arrived, None, None, None, None


def _split(x: Tensor, size: int, dim: int = -1) -> Tensor:
    """Return a tensor whose dimension `dim`, counted from the end, is split in two: the number of runs, and `size`."""
    at = x.dim() + dim
    return x.reshape(*x.shape[:at], -1, size, *x.shape[at + 1 :])


def _scale(x: Tensor, num_steps: int) -> Tensor:
    """Return the largest absolute value / `num_steps` of each vector, [..., 1]; above 0, so that 0 stays 0."""
    return (x.abs().amax(-1, keepdim=True) / num_steps).clamp_min(_TINY)


def _packed_nibbles(integers: Tensor) -> Tensor:
    """Return integers -7..7 [..., d] as uint8 [..., ceil(d/2)], two in a byte, the earlier one in the low half."""
    nibbles = integers.clamp(-_INT4_STEPS, _INT4_STEPS).add(_NIBBLE_OFFSET).to(torch.uint8)
    if nibbles.shape[-1] % 2:
        nibbles = torch.cat([nibbles, torch.zeros_like(nibbles[..., :1])], -1)
    pairs = _split(nibbles, 2)
    return pairs[..., 0] | (pairs[..., 1] << 4)


def _unpacked_nibbles(packed: Tensor, hidden: int) -> Tensor:
    """Return the integers -7..7 in packed nibbles, float32 [..., hidden]."""
    pairs = torch.stack([packed & 0xF, packed >> 4], -1)
    return pairs.flatten(-2)[..., :hidden].float() - _NIBBLE_OFFSET


def _rotated(tiles: Tensor) -> Tensor:
    """Return tiles [..., n], n a power of two, times the orthonormal Hadamard matrix, which is its own inverse."""
    size = tiles.shape[-1]
    width = 1
    while width < size:  # the fast transform: sums and differences of halves of ever larger runs
        pairs = _split(_split(tiles, width), 2, dim=-2)
        low, high = pairs[..., 0, :], pairs[..., 1, :]
        tiles = torch.stack([low + high, low - high], -2).flatten(-3)
        width *= 2
    return tiles / math.sqrt(size)


def _positions(x: Tensor, codec: Codec, noise: Tensor | None) -> Tensor:
    """Return which values a sparse codec keeps of each vector, int64 [..., k]."""
    hidden, kept = x.shape[-1], num_kept(codec, x.shape[-1])
    largest = x.abs().topk(kept, -1).indices
    if codec.kind == "topk" or kept == hidden:
        return largest
    assert noise is not None
    assert codec.explore_frac is not None
    # k draws without replacement, each in proportion to the p of those that are left, are the k largest of log p +
    # Gumbel noise (Vieira 2014; Kool et al. 2019, arXiv 1903.06059). The k largest values share p = 1 - alpha.
    log_p = torch.full_like(x, math.log(codec.explore_frac / (hidden - kept)))
    log_p = log_p.scatter(
        -1, largest, torch.full_like(largest, math.log((1 - codec.explore_frac) / kept), dtype=x.dtype)
    )
    gumbel = -(-noise.to(x.dtype).clamp_min(_TINY).log()).clamp_min(_TINY).log()
    return (log_p + gumbel).topk(kept, -1).indices


def _values_at(x: Tensor, positions: Tensor) -> Tensor:
    return x.gather(-1, positions).bfloat16()


def _spread(values: Tensor, positions: Tensor, hidden: int) -> Tensor:
    """Return vectors of zeros with values at positions, float32 [..., hidden]."""
    zeros = torch.zeros((*values.shape[:-1], hidden), dtype=torch.float32, device=values.device)
    return zeros.scatter(-1, positions, values.float())


def _index_type(hidden: int) -> torch.dtype:
    return torch.int16 if index_bytes(hidden) == 2 else torch.int32
