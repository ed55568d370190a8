"""What fills a blank of the catalogue: `catalogue/defaults.yaml`, with the reason of every number."""

from functools import cache
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from devices.strict_yaml import read_document, validate
from devices.values import CorrelationNumber, FractionNumber, NonNegativeNumber, PositiveNumber

FILE = Path(__file__).parent / "catalogue" / "defaults.yaml"
STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DeviceDefaults:
    """For devices of every tier."""

    bandwidth_efficiency_frac: FractionNumber
    block_overhead_forward_ms: PositiveNumber
    block_overhead_backward_ms: PositiveNumber


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TierDefaults:
    """For devices of one tier; `memory_usable_frac` is a share of the memory."""

    achieved_frac: FractionNumber
    memory_usable_frac: FractionNumber


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NetworkDefaults:
    """Spread (standard deviation of the logarithm) where only a median is known, and the correlation of down and up."""

    rate_ln_sigma: PositiveNumber
    rtt_ln_sigma: PositiveNumber
    downlink_uplink_correlation: CorrelationNumber


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FleetDefaults:
    """For fleets; a step's compute time varies by this much (standard deviation of the logarithm)."""

    compute_jitter_ln_sigma: NonNegativeNumber


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Defaults:
    """The whole file."""

    devices: DeviceDefaults
    tiers: dict[str, TierDefaults]
    networks: NetworkDefaults
    fleets: FleetDefaults


@cache
def defaults() -> Defaults:
    """Return the catalogue's defaults, read once."""
    return validate(Defaults, read_document(FILE))
