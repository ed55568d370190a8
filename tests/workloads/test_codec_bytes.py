import pytest

from workloads.codec_bytes import encoded_bytes


def test_float32_has_four_bytes_a_value() -> None:
    assert encoded_bytes("fp32", 2, 3, 5) == 4 * 2 * 3 * 5


def test_an_unknown_codec_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="unknown codec 'fp31'; allowed: fp32"):
        encoded_bytes("fp31", 2, 3, 5)
