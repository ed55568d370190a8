"""Do findings hang on what nobody has measured? Headlines of studies with each assumed constant halved and doubled.

Devices leave three things blank or assumed: the overhead of a block, the efficiency of the memory's bandwidth, and the
share of the peak that matrix products reach. For each of them and each factor this writes a catalogue of one's own, in
which every device that has no other source for it states the changed number, and runs the cases of a study's headline.
Only the clock runs. From the repository root, for all of them or for those named:

    python -m tests.benchmarks.assumed [adaptive-pays] [policy-shootout] [rank-or-codec] [stragglers-async]
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import splitft
from analysis.study_ratios import paired_ratios
from devices.catalogue.lookup import SHIPPED
from devices.defaults import defaults
from devices.strict_yaml import read_document

FACTORS = (0.5, 2.0)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a study says in a sentence: how much longer or shorter runs are with other values of a key.

    Attributes:
        base, set: the scenario, as in the study, where the headline holds.
        key: of the scenario.
        values: of the key by name; the others are compared with the first.
    """

    base: str
    set: Mapping[str, Any]
    key: str
    values: Mapping[str, Any]


PHONES: Mapping[str, Any] = {
    "workload.model": "gpt2",
    "workload.local_steps": 4,
    "fleet.count": 20,
    "server.slots": 1,
    "availability.kind": "always-on",
    "costs.oom": "lower-cut",
}
SPLITFT = {"kind": "splitft", "gamma_perf": 0.0}
POLICIES: Mapping[str, Any] = {"cut 1": {"kind": "fixed", "cut": 1}, "splitft": SPLITFT, "optimal": {"kind": "optimal"}}


def upload(codec: str, cut_rank: int) -> Mapping[str, Any]:
    """Return the workload of `slow-uplink` with another codec and rank at the cut."""
    return {
        "model": "gpt2",
        "local_steps": 4,
        "codec": {"activations": codec, "gradients": codec},
        "lora": {"cut_rank": cut_rank},
    }


FINDINGS = {
    "adaptive-pays": Finding(
        base="cost-only-phones",
        set={**PHONES, "rounds": 12, "fleet.mixture": "edge-lab"},
        key="policy",
        values=POLICIES,
    ),
    "policy-shootout": Finding(
        base="cost-only-phones",
        set={**PHONES, "rounds": 20, "fleet.mixture": "phones-2024"},
        key="policy",
        values={**POLICIES, "splitft, measuring": {"kind": "splitft"}},
    ),
    "rank-or-codec": Finding(
        base="slow-uplink",
        set={"rounds": 4},
        key="workload",
        values={"fp32, rank 16": upload("fp32", 16), "rank 2": upload("fp32", 2), "int4": upload("int4", 16)},
    ),
    "stragglers-async": Finding(
        base="stragglers",
        set={
            "rounds": 24,
            "policy": {"kind": "fixed", "cut": 2},
            "server.slots": 10,
            "fleet.clients": [
                {"device": "apple-m2-16gb", "network": "lan-1gbe", "count": 8},
                {"device": "rpi4-8gb", "network": "lan-1gbe", "count": 2},
            ],
        },
        key="protocol",
        values={"sfl-v1": {"kind": "sfl-v1"}, "fedbuff": {"kind": "fedbuff", "buffer_size": 10}},
    ),
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


def print_row(finding: Finding, name: str, folder: Path, catalogue: Sequence[Path]) -> None:
    """Print the geometric mean over seeds of the time with each value over that with the first."""
    vary = {finding.key: tuple(finding.values.values())}
    study = splitft.quick_study(finding.base, vary, seeds=3, set=finding.set, name="assumed")
    frame = splitft.sweep(study, folder, jobs=1, catalogue=catalogue).frame()
    found = paired_ratios(frame, "simulated_s", [finding.key])
    seconds = frame.groupby(finding.key, sort=False)["simulated_s"].mean().iloc[0]
    print(f"| {name} | {seconds:.1f} | {' | '.join(f'{ratio:.2f}' for ratio in found['mean'][1:])} |", flush=True)


def print_table(name: str, root: Path) -> None:
    """Print a finding under every assumption."""
    finding = FINDINGS[name]
    first, *others = finding.values
    print(f"\n{name}\n\n| assumed | seconds with {first} | {' | '.join(others)} |\n|{'---|' * (len(others) + 2)}")
    print_row(finding, "as shipped", root / name, [])
    for constant, keys in CONSTANTS.items():
        for factor in FACTORS:
            catalogue = root / f"{name}-{keys[0]}-{factor}"
            num_changed = write_catalogue(catalogue, keys, factor)
            row = f"{constant} x {factor:g} ({num_changed} devices)"
            print_row(finding, row, root / f"{catalogue.name}-study", [catalogue])


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as root:
        for name in sys.argv[1:] or FINDINGS:
            print_table(name, Path(root))


if __name__ == "__main__":
    main()
