"""What run.json says of a run: exactly what was asked for, with every number that stood behind an id."""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from devices.fleets import FleetMixture
from simulator.scenario import fingerprint_payload, to_mapping
from simulator.setting import Setting
from workloads.counts import adapter_parameters, client_part, server_part

LIBRARIES = ("splitft", "simpy", "numpy", "pandas", "pyarrow", "tokenizers", "torch", "transformers", "peft")


def describe(setting: Setting, numerics: str | None) -> dict[str, Any]:
    """Return what is known of a run before it starts: scenario, hardware, contents, fingerprint, notes, versions.

    Args:
        setting: what the run works with.
        numerics: names the machine and software that do the learning; None where nothing is learned.
    """
    hardware, content = _hardware(setting), {**setting.models.content, **setting.data.content}
    if setting.own_code:
        content["own_code"] = {key: own.sha256 for key, own in setting.own_code.items()}
    return {
        "scenario": to_mapping(setting.scenario),
        "hardware": hardware,
        "content": content,
        "fingerprint": fingerprint(setting, hardware, content),
        "notes": list(setting.notes),
        "trained_parameters": [_trained(setting, cut) for cut in range(1, setting.shape.num_blocks)],
        "numerics": numerics,
        "versions": {"python": sys.version.split()[0], **{library: version(library) for library in LIBRARIES}},
    }


def fingerprint(setting: Setting, hardware: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """Return the sha256 of all that decides a run's result, in hex: two runs that share it are the same run."""
    behind = json.dumps([hardware, content], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(f"{fingerprint_payload(setting.scenario)}\n{behind}".encode()).hexdigest()


def _trained(setting: Setting, cut: int) -> dict[str, int]:
    """Return how many parameters are trained on either side of a cut."""
    shape, lora = setting.shape, setting.lora
    return {
        "cut": cut,
        "client": adapter_parameters(client_part(shape, lora, cut)),
        "server": adapter_parameters(server_part(shape, lora, cut)),
    }


def _hardware(setting: Setting) -> dict[str, Any]:
    """Return every profile that the run uses, in base units; what each client drew follows from the seed."""
    return {
        "devices": [_numbers(device) for device in setting.fleet.device_table],
        "networks": [
            {"id": route.id, **{part: _numbers(value) for part, value in _parts(route)}}
            for route in setting.fleet.network_table
        ],
        **_mixture(setting.fleet.mixture),
        "server": _numbers(setting.server),
        "server_links": dataclasses.asdict(setting.server_links),
        "connections": setting.connections.identity(),
        "availability": setting.availability.identity(),
        "variation": dataclasses.asdict(setting.variation),
    }


def _mixture(mixture: FleetMixture | None) -> dict[str, Any]:
    """Return what clients were drawn by, where they were: with the seed it decides who has which device and network."""
    if mixture is None:
        return {}
    routes = [
        {"id": share.network if share.via is None else f"{share.network}+{share.via}", "weight": share.weight}
        for share in mixture.networks
    ]
    devices = [{"id": share.device, "weight": share.weight} for share in mixture.devices]
    return {"mixture": {"devices": devices, "networks": routes}}


def _parts(route: Any) -> list[tuple[str, Any]]:
    return [("network", route.network), *([("via", route.via)] if route.via is not None else [])]


def _numbers(profile: Any) -> dict[str, Any]:
    """Return a profile without what does not enter any cost: notes, labels and where its numbers come from."""
    plain = dataclasses.asdict(profile)
    return {key: value for key, value in plain.items() if key not in {"provenance", "notes", "label", "confidence"}}
