"""Codecs at the cut: what there is, and how many bytes a tensor has on the wire. `codecs.py` applies them."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

DenseKind = Literal["fp32", "bf16", "fp16", "int8", "int4", "hadamard4"]
SparseKind = Literal["topk", "randtopk"]
KINDS = (*get_args(DenseKind), *get_args(SparseKind))

SCALE_BYTES = 4  # float32
VALUE_BYTES = 2  # bfloat16, of a sparse codec
MAX_SHORT_INDEX = 65_535  # fits into two bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Codec:
    """How a tensor at the cut is encoded, each token's vector of width d for itself.

    Attributes:
        kind: `fp32`, `bf16` and `fp16` change the type of the values. `int8` and `int4` keep whole multiples of the
            largest absolute value / 127 and / 7; `int8` rounds to the nearest, `int4` at random, so that its mean is
            the value. `hadamard4` rotates tiles of the vector, which spreads outliers, and keeps 4 bits of each value
            (cf. TAH-Quant, arXiv 2506.01352). `topk` keeps the largest absolute values; `randtopk` mostly these
            (Zheng et al. 2023, arXiv 2305.18469).
        frac: share of the values that a sparse codec keeps, in (0, 1]; None for the others.
        explore_frac: probability in (0, 1) that the smaller values share in the first draw of `randtopk`, the paper's
            alpha; more in later draws, since no value is drawn twice. None for the others.
    """

    kind: DenseKind | SparseKind
    frac: float | None = None
    explore_frac: float | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown kind, and parameters that are missing, out of range or of another kind."""
        if self.kind not in KINDS:
            raise ValueError(f"unknown codec {self.kind!r}; allowed: {', '.join(KINDS)}")
        if not (self.frac is not None and 0 < self.frac <= 1 if self.is_sparse else self.frac is None):
            raise ValueError(f"codec {self.kind!r}: frac is {self.frac}; topk and randtopk, and no other, need 0 to 1")
        explores, given = self.kind == "randtopk", self.explore_frac
        if not (given is not None and 0 < given < 1 if explores else given is None):
            raise ValueError(f"codec {self.kind!r}: explore_frac is {given}; randtopk, and no other, needs 0 to 1")

    def __str__(self) -> str:
        """Return the kind and, for a sparse codec, the share kept."""
        return self.kind if self.frac is None else f"{self.kind} {self.frac:g}"

    @property
    def is_sparse(self) -> bool:
        """Return whether only some values are sent, with their indices."""
        return self.kind in get_args(SparseKind)

    @property
    def at_inference(self) -> "Codec":
        """Return the codec of activations that are not trained on: exploring is for training."""
        return Codec(kind="topk", frac=self.frac) if self.kind == "randtopk" else self

    @property
    def is_stochastic(self) -> bool:
        """Return whether encoding takes random numbers."""
        return self.kind in ("int4", "randtopk")


FP32 = Codec(kind="fp32")


def reuses_indices(activations: Codec, gradients: Codec) -> bool:
    """Return whether gradients are sent for the values of which the activations were sent, so without indices."""
    return activations.is_sparse and gradients.is_sparse


def encoded_bytes(codec: Codec, batch: int, tokens: int, hidden: int, *, with_indices: bool = True) -> int:
    """Return the encoded size of a (batch, tokens, hidden) tensor in bytes.

    Args:
        codec: how it is encoded.
        batch: samples B.
        tokens: padded tokens T of a sample.
        hidden: width d.
        with_indices: whether a sparse codec sends them; it need not where the other side knows them
            (`reuses_indices`).
    """
    return batch * tokens * _token_bytes(codec, hidden, with_indices)


def _token_bytes(codec: Codec, hidden: int, with_indices: bool) -> int:
    nibbles = (hidden + 1) // 2
    match codec.kind:
        case "fp32":
            return 4 * hidden
        case "bf16" | "fp16":
            return 2 * hidden
        case "int8":
            return hidden + SCALE_BYTES
        case "int4":
            return nibbles + SCALE_BYTES
        case "hadamard4":
            return nibbles + SCALE_BYTES * (hidden // tile_size(hidden))
        case "topk" | "randtopk":
            return num_kept(codec, hidden) * (VALUE_BYTES + (index_bytes(hidden) if with_indices else 0))


def num_kept(codec: Codec, hidden: int) -> int:
    """Return how many of a token's values a sparse codec keeps: frac of them, rounded up, so at least one."""
    assert codec.frac is not None
    return max(1, math.ceil(round(codec.frac * hidden, 6)))  # 0.1 of 30 is 3, not 3.0000000000000004


def index_bytes(hidden: int) -> int:
    """Return the bytes of one index into a vector."""
    return 2 if hidden - 1 <= MAX_SHORT_INDEX else 4


def tile_size(hidden: int) -> int:
    """Return the largest power of two that divides a width: what `hadamard4` rotates together."""
    return hidden & -hidden
