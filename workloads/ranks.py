"""Which LoRA rank each block has, given where the model is cut (SplitFT, arXiv 2604.26388)."""

from dataclasses import dataclass
from typing import Literal, get_args

from workloads.blocks import Linear

CutRankSides = Literal["both", "client", "server", "none"]
Dormant = Literal["excluded", "frozen"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraSpec:
    """The adapters of a model.

    Attributes:
        targets: the linears of every block that have one (`shapes.lora_targets`).
        rank, cut_rank, cut_rank_sides: see `block_ranks`.
        dormant: what becomes of rows that a client does not train: `excluded`, it does not have them, or `frozen`, it
            computes with them.
        trains_a: whether both factors are trained, or only B.
    """

    targets: tuple[Linear, ...]
    rank: int
    cut_rank: int
    cut_rank_sides: CutRankSides
    dormant: Dormant = "excluded"
    trains_a: bool = True

    def block_ranks(self, num_blocks: int, cut: int) -> tuple[int, ...]:
        """Return the rank that every block of a model is trained at that is cut after block `cut`."""
        return block_ranks(num_blocks, cut, self.rank, self.cut_rank, self.cut_rank_sides)

    def held_ranks(self, num_blocks: int, cut: int) -> tuple[int, ...]:
        """Return how many rows a client has in every block, dormant ones included."""
        return (self.rank,) * num_blocks if self.dormant == "frozen" else self.block_ranks(num_blocks, cut)


def block_ranks(num_blocks: int, cut: int, rank: int, cut_rank: int, sides: str) -> tuple[int, ...]:
    """Return the rank of every block: `cut_rank` beside the cut, `rank` elsewhere.

    Where nothing is cut (`cut` is `num_blocks`, all blocks on the client) no block is beside the cut.

    Args:
        num_blocks: L.
        cut: blocks on the client, 1..L.
        rank: R, the rank of the global adapter in every block.
        cut_rank: at most R, because a client trains the first rows of the global adapter.
        sides: which blocks get `cut_rank`: the client's last (`client`), the server's first (`server`), `both`, `none`.

    Raises:
        ValueError: a number out of its range, or an unknown side.
    """
    if not 1 <= cut <= num_blocks:
        raise ValueError(f"cut {cut} is outside 1..{num_blocks}")
    if not 1 <= cut_rank <= rank:
        raise ValueError(f"cut_rank {cut_rank} is outside 1..rank ({rank})")
    if sides not in get_args(CutRankSides):
        raise ValueError(f"cut_rank_sides {sides!r} is none of {', '.join(get_args(CutRankSides))}")
    ranks = [rank] * num_blocks
    if cut < num_blocks:
        if sides in ("both", "client"):
            ranks[cut - 1] = cut_rank
        if sides in ("both", "server"):
            ranks[cut] = cut_rank
    return tuple(ranks)
