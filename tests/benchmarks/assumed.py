"""Does a finding hang on what nobody has measured? `adaptive-pays` with each assumed constant halved and doubled.

Devices leave three things blank or assumed: the overhead of a block, the efficiency of the memory's bandwidth, and the
share of the peak that matrix products reach. For each of them and each factor this writes a catalogue of one's own, in
which every device that has no other source for it states the changed number, and runs the fleet where adaptive cuts
pay. Only the clock runs. From the repository root:

    python -m tests.benchmarks.assumed
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import splitft
from analysis.study_ratios import paired_ratios
from devices.catalogue.lookup import SHIPPED
from devices.defaults import defaults
from devices.strict_yaml import read_document

FACTORS = (0.5, 2.0)
POLICIES = (
    {"kind": "fixed", "cut": 1},
    {"kind": "splitft", "gamma_perf": 0.0},
    {"kind": "optimal"},
)
SETTING = {  # as in the study, on the fleet and beside the server where adaptive cuts pay
    "rounds": 12,
    "workload.model": "gpt2",
    "workload.local_steps": 4,
    "fleet.mixture": "edge-lab",
    "fleet.count": 20,
    "server.slots": 1,
    "availability.kind": "always-on",
    "costs.oom": "lower-cut",
}
CONSTANTS = {
    "block overhead": ("block_overhead_forward_ms", "block_overhead_backward_ms"),
    "bandwidth efficiency": ("bandwidth_efficiency_frac",),
    "achieved share of the peak": ("achieved_frac",),
}


def filled(key: str, tier: str) -> float:
    """Return what fills a blank of a device."""
    known = defaults()
    number = known.tiers[tier].achieved_frac if key == "achieved_frac" else getattr(known.devices, key)
    return float(number.value)


def is_assumed(stated: Any) -> bool:
    """Return whether a device leaves a number blank, or states one that is assumed."""
    return stated is None or (isinstance(stated, dict) and stated["kind"] == "assumed")


def write_catalogue(folder: Path, keys: Sequence[str], factor: float) -> int:
    """Write all devices with the assumed values of some keys changed; a share is at most 1. Return how many changed."""
    (folder / "devices").mkdir(parents=True)
    num_changed = 0
    for file in sorted((SHIPPED / "devices").glob("*.yaml")):
        device = read_document(file).data
        text = file.read_text(encoding="utf-8")
        changed = [key for key in keys if is_assumed(device.get(key))]
        for key in changed:
            kept = [line for line in text.splitlines() if not line.startswith(f"{key}:")]
            was = device[key]["value"] if key in device else filled(key, device["tier"])
            number = was * factor if key.endswith("_ms") else min(1.0, was * factor)
            text = "\n".join([*kept, f"{key}: {number}"]) + "\n"
        if changed:
            (folder / "devices" / file.name).write_text(text, encoding="utf-8")
        num_changed += bool(changed)
    return num_changed


def print_row(name: str, folder: Path, catalogue: Sequence[Path]) -> None:
    """Print the geometric mean over seeds of the time under each policy over that of the first."""
    study = splitft.quick_study("cost-only-phones", {"policy": POLICIES}, seeds=3, set=SETTING, name="assumed")
    frame = splitft.sweep(study, folder, jobs=1, catalogue=catalogue).frame()
    found = paired_ratios(frame, "simulated_s", ["policy"])
    seconds = frame.groupby("policy", sort=False)["simulated_s"].mean().iloc[0]
    print(f"| {name} | {seconds:.1f} | {' | '.join(f'{ratio:.2f}' for ratio in found['mean'][1:])} |", flush=True)


def main() -> None:
    """Print the table."""
    print("| assumed | seconds at cut 1 | splitft | optimal |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        print_row("as shipped", root / "shipped", [])
        for constant, keys in CONSTANTS.items():
            for factor in FACTORS:
                catalogue = root / f"{keys[0]}-{factor}"
                num_changed = write_catalogue(catalogue, keys, factor)
                row = f"{constant} x {factor:g} ({num_changed} devices)"
                print_row(row, root / f"{catalogue.name}-study", [catalogue])


if __name__ == "__main__":
    main()
