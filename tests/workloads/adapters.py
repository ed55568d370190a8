"""Random adapters and rounds of updates of different ranks. Imports torch."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from hypothesis import strategies as st

from workloads.aggregate import Update

RANK, BLOCKS = 4, 2
D_IN, D_OUT = 7, 9
Adapter = dict[str, torch.Tensor]
Case = tuple[Adapter, list[Update]]
LAYERS = tuple(f"base.h.{block}.attn.{name}" for block in range(BLOCKS) for name in ("q", "v"))
KEYS = tuple(f"{layer}.lora_{factor}.weight" for layer in LAYERS for factor in "AB")


def is_a(key: str) -> bool:
    return ".lora_A." in key


def block(key: str) -> int:
    return int(key.split(".")[2])


def random_adapter(rng: np.random.Generator) -> Adapter:
    shapes = {True: (RANK, D_IN), False: (D_OUT, RANK)}
    return {key: torch.from_numpy(rng.standard_normal(shapes[is_a(key)]).astype(np.float32)) for key in KEYS}


def first(values: torch.Tensor, key: str, rank: int) -> np.ndarray:
    """Return the first rows of an A or columns of a B in double precision."""
    whole: np.ndarray = values.double().numpy()
    return whole[:rank] if is_a(key) else whole[:, :rank]


def product(adapter: Mapping[str, torch.Tensor], layer: str, rank: int = RANK) -> np.ndarray:
    """Return B A of a layer over the first rows."""
    b, a = (first(adapter[f"{layer}.lora_{factor}.weight"], f".lora_{factor}.", rank) for factor in "BA")
    result: np.ndarray = b @ a
    return result


def mean_product(updates: Sequence[Update], layer: str) -> np.ndarray:
    """Return sum p_k B_k A_k of a layer over the clients' own rows."""
    total = sum(update.weight for update in updates)
    parts = [update.weight / total * product(update.adapter, layer, update.ranks[block(layer)]) for update in updates]
    return np.sum(parts, axis=0)


@st.composite
def rounds(draw: st.DrawFn, *, with_all_rows: bool = False) -> Case:
    """A global adapter and updates of it; with all rows, some client has all rows of every block."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    ranks = st.tuples(*[st.integers(1, RANK)] * BLOCKS)
    updates = [
        Update(adapter=random_adapter(rng), ranks=draw(ranks), weight=draw(st.integers(1, 100)))
        for _ in range(draw(st.integers(1, 5)))
    ]
    if with_all_rows:
        updates.append(Update(adapter=random_adapter(rng), ranks=(RANK,) * BLOCKS, weight=draw(st.integers(1, 100))))
    return random_adapter(rng), updates


def equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)
