"""Named constants, and the one place where the human units of YAML keys become base units.

Inside, everything is in seconds, bytes, FLOP and their ratios. Decimal prefixes are powers of 1000 and binary ones
powers of 1024; a peak of 65 TFLOP/s is 65e12 and never 65 * 2**40. A number is converted as it is written: 17.1 GB/s
are 17100000000 bytes/s, though 17.1 * 10**9 in binary numbers is a little more.
"""

import math
from decimal import Decimal

KILO = 10**3
MEGA = 10**6
GIGA = 10**9
TERA = 10**12

KIBI = 2**10
MEBI = 2**20
GIBI = 2**30

BITS_PER_BYTE = 8
MS = 1e-3
LEAST_MBIT_PER_S = BITS_PER_BYTE / MEGA  # one byte/s: a slower link is a slip of the keyboard
HOUR_S = 3600


def bytes_from_gib(gib: float) -> int:
    """Return whole bytes of a `_gib` value; a broken byte is dropped."""
    return math.floor(_written(gib) * GIBI)


def flops_per_s_from_tflops(tflops: float) -> float:
    """Return FLOP/s of a `_tflops` value (decimal tera)."""
    return float(_written(tflops) * TERA)


def bytes_per_s_from_gbyte_per_s(gbyte_per_s: float) -> float:
    """Return bytes/s of a `_gbyte_per_s` value (decimal giga)."""
    return float(_written(gbyte_per_s) * GIGA)


def bytes_per_s_from_mbit_per_s(mbit_per_s: float) -> float:
    """Return bytes/s of a `_mbit_per_s` value (decimal mega, 8 bits a byte)."""
    return float(_written(mbit_per_s) * MEGA / BITS_PER_BYTE)


def s_from_ms(ms: float) -> float:
    """Return seconds of a `_ms` value."""
    return float(_written(ms) * Decimal(str(MS)))


def s_from_h(hours: float) -> float:
    """Return seconds of an `_h` value."""
    return float(_written(hours) * HOUR_S)


def _written(value: float) -> Decimal:
    """Return the shortest decimal number that reads as this value: the one in the file."""
    return Decimal(repr(value))
