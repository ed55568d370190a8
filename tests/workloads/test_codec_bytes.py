"""Sizes on the wire, each derived from what travels for a vector of a token."""

import pytest

from workloads.codec_bytes import FP32, KINDS, Codec, encoded_bytes, num_kept, reuses_indices, tile_size

TOPK = Codec(kind="topk", frac=0.1)


@pytest.mark.parametrize(
    ("codec", "hidden", "expected"),
    [
        (FP32, 5, 4 * 5),
        (Codec(kind="bf16"), 5, 2 * 5),
        (Codec(kind="fp16"), 5, 2 * 5),
        (Codec(kind="int8"), 5, 5 + 4),  # and a float32 scale
        (Codec(kind="int4"), 6, 3 + 4),
        (Codec(kind="int4"), 5, 3 + 4),  # the last nibble of the last byte is empty
        (Codec(kind="hadamard4"), 576, 288 + 9 * 4),  # 576 = 9 tiles of 64, a scale for each
        (Codec(kind="hadamard4"), 256, 128 + 4),
        (TOPK, 30, 3 * (2 + 2)),  # a tenth of 30 is 3, whatever floats make of 0.1 · 30
        (TOPK, 31, 4 * (2 + 2)),  # rounded up
        (TOPK, 65_536, 6_554 * (2 + 2)),  # the largest index, 65,535, fits into two bytes
        (TOPK, 65_537, 6_554 * (2 + 4)),
        (Codec(kind="randtopk", frac=1, explore_frac=0.1), 4, 4 * (2 + 2)),
    ],
)
def test_a_token_takes_as_many_bytes_as_what_is_sent_of_it(codec: Codec, hidden: int, expected: int) -> None:
    assert encoded_bytes(codec, 2, 3, hidden) == 2 * 3 * expected


def test_gradients_of_activations_that_were_sent_need_no_indices() -> None:
    assert encoded_bytes(TOPK, 2, 3, 30, with_indices=False) == 2 * 3 * 3 * 2
    assert reuses_indices(TOPK, TOPK)
    assert not reuses_indices(FP32, TOPK)
    assert not reuses_indices(TOPK, Codec(kind="int8"))


@pytest.mark.parametrize(("hidden", "size"), [(256, 256), (576, 64), (960, 64), (6, 2), (7, 1)])
def test_a_tile_is_the_largest_power_of_two_that_divides_the_width(hidden: int, size: int) -> None:
    assert tile_size(hidden) == size


def test_exploring_ends_with_training() -> None:
    assert Codec(kind="randtopk", frac=0.2, explore_frac=0.1).at_inference == Codec(kind="topk", frac=0.2)
    assert Codec(kind="int4").at_inference == Codec(kind="int4")


def test_a_codec_says_what_it_is_in_a_word() -> None:
    assert [str(Codec(kind="int8")), str(TOPK)] == ["int8", "topk 0.1"]


def test_an_unknown_codec_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=f"unknown codec 'fp31'; allowed: {', '.join(KINDS)}"):
        Codec(kind="fp31")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "topk"}, "'topk': frac is None"),
        ({"kind": "topk", "frac": 0.0}, "'topk': frac is 0.0"),
        ({"kind": "topk", "frac": 1.5}, "'topk': frac is 1.5"),
        ({"kind": "int8", "frac": 0.5}, "'int8': frac is 0.5"),
        ({"kind": "topk", "frac": 0.5, "explore_frac": 0.1}, "'topk': explore_frac is 0.1"),
        ({"kind": "randtopk", "frac": 0.5}, "'randtopk': explore_frac is None"),
        ({"kind": "randtopk", "frac": 0.5, "explore_frac": 1.0}, "'randtopk': explore_frac is 1.0"),
    ],
)
def test_parameters_that_are_missing_out_of_range_or_of_another_kind_are_refused(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Codec(**values)  # type: ignore[arg-type]


def test_a_sparse_codec_keeps_at_least_one_value() -> None:
    codec = Codec(kind="topk", frac=1e-9)
    assert num_kept(codec, 64) == 1  # the next whole number above 6.4e-8
    assert encoded_bytes(codec, 1, 1, 64) == 2 + 2  # a value and its index
