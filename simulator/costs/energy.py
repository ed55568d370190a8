"""Energy of clients' devices: power times time, by what a device does.

E = P_active · computing + P_idle · waiting + P_transmit · sending + P_receive · receiving. Each power is that of the
whole device in that state, and every moment of a participant is in exactly one span, so the spans of a round add up to
the energy that it took. A device that does not state all four powers has no energy at all, rather than one that is too
small. What the server takes is not counted.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from devices.fleets import Fleet
from devices.power import POWERS, missing_powers
from devices.problems import InputError, Problem
from devices.profiles import DeviceProfile
from simulator.sections.protocol import OVERLAPPING

Powers = Mapping[str, float]
"""Watts by the actor of a span: `client` computes, `uplink` sends, `downlink` receives, the others are waited for."""

MAX_NAMED = 3


def powers(device: DeviceProfile) -> Powers | None:
    """Return what a device takes in each of its states; None where it does not state all of them.

    Raises:
        InputError: it states one that is not above 0 or not finite.
    """
    stated = {name: getattr(device, name) for name in POWERS if getattr(device, name) is not None}
    problems = [
        Problem(f"device {device.id!r}: {name} is {watts}; a power is a finite number above 0")
        for name, watts in stated.items()
        if not (math.isfinite(watts) and watts > 0)
    ]
    if problems:
        raise InputError(*problems)
    if missing_powers(device):
        return None
    idle_w = stated["power_idle_w"]
    return {
        "client": stated["power_active_w"],
        "uplink": stated["power_transmit_w"],
        "downlink": stated["power_receive_w"],
        "server": idle_w,
        "idle": idle_w,
    }


def powers_of(table: Sequence[DeviceProfile]) -> tuple[Powers | None, ...]:
    """Return the powers of each device of a fleet's table.

    Raises:
        InputError: as `powers`; every problem is named.
    """
    found: list[Powers | None] = []
    problems: list[Problem] = []
    for device in table:
        try:
            found.append(powers(device))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    return tuple(found)


def unknown_energy(fleet: Fleet, protocol: str) -> str | None:
    """Return why the energy of a fleet is unknown, in one line that names what is missing; None where it is known."""
    if protocol in OVERLAPPING:
        return f"clients compute and send at once in {protocol}; powers are those of a device that does one thing"
    num_having = np.bincount(fleet.device_index, minlength=len(fleet.device_table))
    lacking = [
        (device.id, missing)
        for device, num in zip(fleet.device_table, num_having, strict=True)
        if num and (missing := missing_powers(device))
    ]
    if not lacking:
        return None
    fields = [name for name in POWERS if any(name in missing for _, missing in lacking)]
    names = [name for name, _ in lacking[:MAX_NAMED]]
    more = f" and {len(lacking) - MAX_NAMED} more" if len(lacking) > MAX_NAMED else ""
    return (
        f"{', '.join(fields)} of {', '.join(names)}{more} not stated; `costs.energy: assumed` fills in all but active"
    )
