"""What `splitft check` prints."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from simulator.costs.energy import unknown_energy
from simulator.costs.memory import PartMemory
from simulator.costs.overheads import assumed_overhead
from simulator.costs.prediction import CutPrediction, DevicePrediction, predict
from simulator.models import PricedModel
from simulator.sections.protocol import LABELS_STAY
from simulator.setting import Setting
from simulator.verdict import can_cut_affect_learning, privacy
from splitft.show import GIB, megabytes, table
from workloads.shapes import ModelShape

MAX_CUTS = 16
MAX_MEMORY_CUTS = 6  # two rows each; `--json` has all
MAX_DEVICES = 40


def check_tables(setting: Setting) -> list[Table]:
    """Return what a scenario resolves to, memory and bytes by cut, and seconds a step by device and cut."""
    found = predict(setting)
    spread = _spread([row.cut for row in found.cuts])[:MAX_CUTS]
    shown = sorted(spread)
    rows = [row for row in found.cuts if row.cut in shown]
    return [
        table([setting.scenario.name, ""], _facts(setting)),
        _by_cut(rows, found.length_tokens, setting.models.priced_as),
        _memory_by_cut(found.cuts, spread[:MAX_MEMORY_CUTS], setting),
        _by_device(found.devices, shown, spread),
    ]


def check_json(setting: Setting) -> dict[str, Any]:
    """Return the same as plain data, in base units."""
    facts = {
        "scenario": setting.scenario.name,
        "num_clients": len(setting.fleet),
        "num_samples": int(setting.data.num_samples.sum()),
        "num_parameters": setting.shape.num_parameters,
        "priced_as": setting.models.priced_as.name if setting.models.priced_as else None,
        "availability": setting.availability.words(),
        "network": setting.connections.words(),
        "labels_leave": setting.scenario.protocol.kind not in LABELS_STAY,
        "cut_affects_learning": can_cut_affect_learning(setting),
        "assumed_overhead": dataclasses.asdict(assumed_overhead(setting)),
        "notes": list(setting.notes),
    }
    return {**facts, **dataclasses.asdict(predict(setting))}


def _facts(setting: Setting) -> list[tuple[str, str]]:
    priced, data, workload = setting.models.priced_as, setting.data, setting.scenario.workload
    samples = data.num_samples
    return [
        (
            "model",
            _sizes(setting.model.name, setting.shape),
        ),
        *([("the clock charges for", _sizes(priced.name, priced.shape))] if priced else []),
        ("dataset", f"{workload.dataset.source}: {data.summary}"),
        ("clients", f"{len(setting.fleet):,}, with {samples.min():,} to {samples.max():,} samples each"),
        ("server", f"{setting.scenario.server.slots} x {setting.server.id}, {setting.serving.discipline}"),
        *([("network", words)] if (words := setting.connections.words()) else []),
        ("protocol, policy", f"{setting.scenario.protocol.kind}, {setting.scenario.policy.kind}"),
        ("selection", setting.scenario.selection.kind),
        ("availability", setting.availability.words()),
        ("can the cut affect learning here?", can_cut_affect_learning(setting)),
        ("assumed overhead of blocks", assumed_overhead(setting).words()),
        ("energy", _energy(setting)),
        ("privacy", privacy(setting)),
    ]


def _energy(setting: Setting) -> str:
    if why := unknown_energy(setting.fleet, setting.scenario.protocol.kind):
        return f"unknown: {why}"
    return "known of every client" + (", power partly assumed" if setting.scenario.costs.energy == "assumed" else "")


def _sizes(name: str, shape: ModelShape) -> str:
    return f"{name}: {shape.family}, {shape.num_blocks} blocks, {shape.num_parameters:,} parameters"


def _by_cut(rows: Sequence[CutPrediction], length_tokens: int, priced: PricedModel | None) -> Table:
    headings = ["up a step", "down a step", "adapter a round", "client GiB", "server GiB"]
    return table(
        ["cut", *([f"of {priced.name}"] if priced else []), *headings],
        [
            (
                row.cut,
                *([row.priced_cut] if priced else []),
                megabytes(row.up_bytes),
                megabytes(row.down_bytes),
                megabytes(row.adapter_bytes),
                f"{row.client_memory_bytes / GIB:.3f}",
                f"{row.server_memory_bytes / GIB:.3f}",
            )
            for row in rows
        ],
        title="By cut",
        caption=f"bytes of a batch of the mean padded length ({length_tokens} tokens); memory of the longest batch",
    )


def _memory_by_cut(cuts: Sequence[CutPrediction], shown: Sequence[int], setting: Setting) -> Table:
    workload, memory = setting.scenario.workload, setting.memory
    blocks = "each block computed again" if memory.checkpointing else "nothing computed again"
    batch = f"{memory.batch_size} samples of {memory.length_tokens} tokens, {memory.dtype}"
    left_out = f"; {len(cuts) - len(shown)} more cut(s) in --json" if len(shown) < len(cuts) else ""
    return table(
        [
            "cut",
            "side",
            "base model",
            "adapters, optimizer",
            "activations",
            "logits",
            "work space",
            "process",
            "in all",
        ],
        [
            (row.cut, side, *(f"{num_bytes / GIB:.3f}" for num_bytes in (*_terms(part), part.total_bytes)))
            for row in cuts
            if row.cut in shown
            for side, part in (("client", row.client_memory), ("server", row.server_memory))
        ],
        title="Memory by cut, in GiB",
        caption=f"{batch}, {workload.optimizer.kind}, {blocks}; server: adapters of a whole round{left_out}",
        optional=("process", "work space", "logits"),
    )


def _terms(part: PartMemory) -> tuple[int, ...]:
    return (
        part.weights_bytes,
        part.adapters_bytes,
        part.activations_bytes,
        part.logits_bytes,
        part.workspace_bytes,
        part.runtime_bytes,
    )


def _by_device(devices: Sequence[DevicePrediction], shown: Sequence[int], spread: Sequence[int]) -> Table:
    rows = [
        (
            row.device,
            row.num_clients,
            f"{row.memory_usable_bytes / GIB:.1f}",
            row.max_cut,
            *(f"{step_s:.3g}" if (step_s := row.step_s[cut - 1]) is not None else "-" for cut in shown),
        )
        for row in devices[:MAX_DEVICES]
    ]
    left_out = f"; {len(devices) - MAX_DEVICES} more devices" if len(devices) > MAX_DEVICES else ""
    return table(
        ["device", "clients", "usable GiB", "deepest", *(f"cut {cut}" for cut in shown)],
        rows,
        title="Seconds of a step by cut",
        caption=f"on the median link of these clients, nobody else at the server; -: does not fit{left_out}",
        optional=[f"cut {cut}" for cut in reversed(spread[1:])],
    )


def _spread(cuts: Sequence[int]) -> list[int]:
    """Return all cuts so that any number of the first ones lie far apart: first, last, middle, ..."""
    chosen, left = [cuts[0]], [*cuts[1:]]
    while left:
        farthest = max(left, key=lambda cut: min(abs(cut - other) for other in chosen))
        chosen.append(farthest)
        left.remove(farthest)
    return chosen
