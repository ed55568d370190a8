"""Power that a device takes while it computes, waits, sends and receives, and what may be assumed where it is blank."""

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from devices.profiles import DeviceProfile, Provenance
from devices.strict_yaml import read_document, validate
from devices.values import STRICT, FractionNumber, PositiveNumber, Stated

FILE = Path(__file__).parent / "catalogue" / "assumed_power.yaml"

POWERS = ("power_active_w", "power_idle_w", "power_transmit_w", "power_receive_w")
"""The fields of a profile that energy needs, all of them."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TierPower:
    """For devices of one tier: idle power as a share of the active one, and what the radio or port adds to it."""

    idle_frac: FractionNumber
    radio_transmit_w: PositiveNumber
    radio_receive_w: PositiveNumber


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AssumedPower:
    """The whole file."""

    tiers: dict[str, TierPower]


@cache
def assumed_power() -> AssumedPower:
    """Return what may be assumed, read once."""
    return validate(AssumedPower, read_document(FILE))


def missing_powers(device: DeviceProfile) -> tuple[str, ...]:
    """Return the fields that energy needs and that the device does not state."""
    return tuple(name for name in POWERS if getattr(device, name) is None)


def with_assumed_power(device: DeviceProfile) -> DeviceProfile:
    """Return the device with its missing powers filled in from its tier, kind `assumed`.

    Active power is never assumed, and nothing follows without it: such a device comes back as it was. So does one of a
    tier of which nothing is known.
    """
    tier = assumed_power().tiers.get(device.tier)
    if tier is None or device.power_active_w is None:
        return device
    idle_w = tier.idle_frac.value * device.power_active_w if device.power_idle_w is None else device.power_idle_w
    guesses: dict[str, tuple[float, Stated]] = {
        "power_idle_w": (idle_w, tier.idle_frac),
        "power_transmit_w": (idle_w + tier.radio_transmit_w.value, tier.radio_transmit_w),
        "power_receive_w": (idle_w + tier.radio_receive_w.value, tier.radio_receive_w),
    }
    guesses = {name: guess for name, guess in guesses.items() if getattr(device, name) is None}
    origins = {name: Provenance(kind=why.kind, source=why.source or "") for name, (_, why) in guesses.items()}
    changes: dict[str, Any] = {name: watts for name, (watts, _) in guesses.items()}
    return dataclasses.replace(device, **changes, provenance={**device.provenance, **origins})
