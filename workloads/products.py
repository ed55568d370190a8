"""Aggregation that looks at the clients' mean product, sum p_k B_k A_k, instead of at B and A apart.

Rows that no client has in its update take part with the value of the global adapter. In double precision throughout.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from workloads.aggregate import Update
from workloads.lora import Adapter, b_of, block_of, is_a, layer_of, rows

_NEGLIGIBLE = 1e-12  # of the largest singular value: what rounding leaves of a zero in double precision


def flexlora(base: Mapping[str, Tensor], updates: Sequence[Update]) -> Adapter:
    """Return the adapter whose product is nearest to the mean product: its truncated SVD (FlexLoRA, arXiv 2402.11505).

    B takes the singular values, the rows of A are orthonormal; a row's entry of largest absolute value is positive.
    Where the mean product has a lower rank than the adapter, the rows that are left over have B = 0 and keep their A,
    so that they can be trained.
    """
    merged = {key: values.clone() for key, values in base.items()}
    for key in filter(is_a, base):
        left, right = _factors(base, updates, key)
        b, a = _nearest(left, right, rank=base[key].shape[0])
        merged[key][: len(a)] = a.to(base[key].dtype)
        merged[b_of(key)].zero_()[:, : len(a)] = b.to(base[key].dtype)
    return merged


def residual(base: Mapping[str, Tensor], updates: Sequence[Update], merged: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return by layer what the mean product exceeds the merged adapter's product by, [d_out, d_in].

    With a new adapter, whose B is 0, that is all of it (FLoRA, arXiv 2409.05976); with averaged factors it is what
    averaging them apart gets wrong (FedEx-LoRA, arXiv 2410.09432).
    """
    missing = {}
    for key in filter(is_a, base):
        left, right = _factors(base, updates, key)
        exceeds = left @ right - merged[b_of(key)].double() @ merged[key].double()
        missing[layer_of(key)] = exceeds.to(base[key].dtype)
    return missing


def _factors(base: Mapping[str, Tensor], updates: Sequence[Update], key: str) -> tuple[Tensor, Tensor]:
    """Return stacked factors, [d_out, m] and [m, d_in], whose product is the mean product of the layer of an A."""
    total = sum(update.weight for update in updates)
    num_held = max((update.ranks[block_of(key)] for update in updates), default=0)
    end = base[key].shape[0]
    left = [update.rows(b_of(key)) * (update.weight / total) for update in updates]
    right = [update.rows(key) for update in updates]
    left.append(rows(base[b_of(key)], b_of(key), end, num_held).double())
    right.append(rows(base[key], key, end, num_held).double())
    return torch.cat(left, 1), torch.cat(right, 0)


def _nearest(left: Tensor, right: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return B [d_out, r] and A [r, d_in] of the truncated SVD of left · right, r <= rank, without forming the product.

    With left = Q R and rightᵀ = Q' R', only the small matrix R R'ᵀ needs an SVD.
    """
    q_left, r_left = torch.linalg.qr(left)
    q_right, r_right = torch.linalg.qr(right.T)
    u, s, vh = torch.linalg.svd(r_left @ r_right.T, full_matrices=False)
    kept = min(rank, int((s > _NEGLIGIBLE * s[0]).sum())) if len(s) else 0
    b, a = q_left @ (u * s)[:, :kept], vh[:kept] @ q_right.T
    largest = a.gather(1, a.abs().argmax(1, keepdim=True))
    return b * largest.sign().T, a * largest.sign()
