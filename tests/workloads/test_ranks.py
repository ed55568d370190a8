import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.ranks import LoraSpec, block_ranks


@pytest.mark.parametrize(
    ("sides", "ranks"),
    [
        ("both", (16, 8, 8, 16)),
        ("client", (16, 8, 16, 16)),
        ("server", (16, 16, 8, 16)),
        ("none", (16, 16, 16, 16)),
    ],
)
def test_blocks_beside_the_cut_have_the_reduced_rank(sides: str, ranks: tuple[int, ...]) -> None:
    assert block_ranks(4, 2, 16, 8, sides) == ranks


def test_without_a_cut_every_block_has_the_full_rank() -> None:
    assert block_ranks(3, 3, 16, 8, "both") == (16, 16, 16)


def test_a_spec_gives_the_ranks_of_its_rule() -> None:
    spec = LoraSpec(targets=(), rank=4, cut_rank=1, cut_rank_sides="client")
    assert spec.block_ranks(3, 1) == (1, 4, 4)


@given(num_blocks=st.integers(1, 60), data=st.data(), sides=st.sampled_from(["both", "client", "server", "none"]))
def test_one_rank_for_each_block_and_at_most_two_reduced(num_blocks: int, data: st.DataObject, sides: str) -> None:
    cut = data.draw(st.integers(1, num_blocks))
    ranks = block_ranks(num_blocks, cut, 16, 8, sides)
    num_reduced = {"both": 2, "client": 1, "server": 1, "none": 0}[sides] if cut < num_blocks else 0
    assert len(ranks) == num_blocks
    assert sorted(ranks) == [8] * num_reduced + [16] * (num_blocks - num_reduced)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 0, 16, 8, "both"), r"cut 0 is outside 1\.\.4"),
        ((4, 5, 16, 8, "both"), r"cut 5 is outside 1\.\.4"),
        ((4, 2, 16, 17, "both"), r"cut_rank 17 is outside 1\.\.rank \(16\)"),
        ((4, 2, 16, 0, "both"), "cut_rank 0 is outside"),
        ((4, 2, 16, 8, "clients"), "cut_rank_sides 'clients' is none of both, client, server, none"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments: tuple[int, int, int, int, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        block_ranks(*arguments)
