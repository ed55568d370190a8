"""What stands behind the names of a run's scenario: numbers of profiles, contents of files, the user's own code.

run.json holds all of it, and the fingerprint digests it: runs with one scenario are the same only where this is the
same too.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

MAX_SHOWN = 40  # characters of a value; longer ones are shown by their digest


class Behind(NamedTuple):
    """One thing behind a scenario.

    Attributes:
        key: what it is, as in `device my-board: power_active_w`.
        asked: what the scenario says that decides on it, as JSON. Where that differs, so may the value.
    """

    key: str
    asked: str


def behind(meta: Mapping[str, Any]) -> dict[Behind, str]:
    """Return what stands behind a run's scenario, each with its value as a short text.

    Args:
        meta: what run.json holds.
    """
    return {Behind(key, json.dumps(asked)): _short(value) for key, asked, value in _parts(meta)}


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return what is another in a second run though its scenario asks for the same: key, value before, value now."""
    values, others = behind(before), behind(now)
    return {
        item.key: (value, others[item]) for item, value in values.items() if item in others and others[item] != value
    }


def _parts(meta: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    scenario, hardware, content = meta["scenario"], meta.get("hardware", {}), meta.get("content", {})
    workload, server = scenario.get("workload", {}), scenario.get("server", {})
    priced = scenario.get("costs")  # stacks of software and assumed powers change what is known of a device
    for device in hardware.get("devices", ()):
        yield from _fields(f"device {device['id']}", priced, device)
    for network in hardware.get("networks", ()):
        for part in ("network", "via"):
            yield from _fields(f"{part} {network['id']}", None, network.get(part, {}))
    yield from _fields(f"server {server.get('device')}", priced, hardware.get("server", {}))
    yield from _fields(f"server on {server.get('network')}", None, hardware.get("server_links", {}))
    fleet = scenario.get("fleet", {})
    yield from _fields(f"mixture {fleet.get('mixture')}", None, hardware.get("mixture", {}))
    yield from _fields("network", scenario.get("network"), hardware.get("connections", {}))
    named = [scenario.get("availability"), fleet.get("mixture")]
    yield from _fields("availability", named, hardware.get("availability", {}))
    yield from _fields("variation", [priced, fleet.get("mixture")], hardware.get("variation", {}))
    of_model, of_text = workload.get("model"), workload.get("dataset")
    asked = {"dataset": of_text, "samples": of_text, "priced_as": workload.get("priced_as")}
    for name, value in content.items():
        if name != "own_code":
            yield f"content of {name}", asked.get(name, of_model), value
    for key, sha256 in content.get("own_code", {}).items():
        yield f"code of {key}", value_at(scenario, key), sha256


def _fields(what: str, asked: Any, numbers: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name, value in numbers.items():
        yield f"{what}: {name}", asked, value


def value_at(section: Mapping[str, Any], key: str) -> Any:
    """Return what a section says at a dotted key, in which numbers are places in lists; None where it says nothing."""
    place: Any = section
    for part in key.split("."):
        if isinstance(place, list):
            place = place[int(part)] if part.isdecimal() and int(part) < len(place) else None
        else:
            place = place.get(part) if isinstance(place, Mapping) else None
    return place


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_SHOWN else f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]}"
