import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import units


def test_decimal_and_binary_prefixes_are_kept_apart() -> None:
    assert (units.KILO, units.MEGA, units.GIGA, units.TERA) == (10**3, 10**6, 10**9, 10**12)
    assert (units.KIBI, units.MEBI, units.GIBI) == (1024, 1024**2, 1024**3)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (units.bytes_from_gib(16), 16 * 1024**3),
        (units.bytes_from_gib(14.7), 15_784_004_812),  # 14.7 * 2^30 = 15784004812.8
        (units.flops_per_s_from_tflops(0.0576), 57_600_000_000.0),
        (units.bytes_per_s_from_gbyte_per_s(17.1), 17_100_000_000.0),  # in binary numbers 17.1 * 1e9 is not
        (units.bytes_per_s_from_mbit_per_s(30.49), 3_811_250.0),  # 30.49e6 / 8
        (units.s_from_ms(14), 0.014),
        (units.s_from_ms(0.05), 5e-5),
        (units.s_from_h(0.61), 2196.0),
    ],
)
def test_a_number_is_converted_as_it_is_written(base: float, expected: float) -> None:
    assert base == expected


@given(st.floats(1e-6, 1e6))
def test_conversions_agree_with_plain_arithmetic(value: float) -> None:
    assert units.flops_per_s_from_tflops(value) == pytest.approx(value * 1e12, rel=1e-15)
    assert units.bytes_per_s_from_mbit_per_s(value) == pytest.approx(value * 125_000, rel=1e-15)
    assert units.s_from_ms(value) == pytest.approx(value / 1000, rel=1e-15)
