"""`efficiency.csv` to one file of observations for each training or inference stack.

No cost is computed from them: they tell which share of a device's peak published software reached.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal

from devices.catalogue.conversion.text import Data
from devices.units import TERA

Row = Mapping[str, str]

RANGE = re.compile(r"(\d*\.?\d+)(?:-(\d*\.?\d+))?")


def efficiency_files(rows: Iterable[Row]) -> dict[str, Data]:
    """Return the YAML data of the observations by stack."""
    stacks: dict[str, list[Data]] = {}
    labels: dict[str, str] = {}
    for row in rows:
        stack = re.sub("[^a-z0-9]+", "-", row["workload"].lower()).strip("-")
        labels[stack] = row["workload"]
        stacks.setdefault(stack, []).append(_observation(row))
    return {stack: {"label": labels[stack], "observations": observations} for stack, observations in stacks.items()}


def _observation(row: Row) -> Data:
    kind, _, remark = row["kind"].partition(" ")
    return {
        "device": row["device"],
        "model": row["model"],
        "num_tokens": Decimal(row["tokens_per_step_or_prompt"]) if row["tokens_per_step_or_prompt"] else None,
        "metric": row["metric"],
        "value": _number_or_text(row["value"]),
        "achieved_tflops": Decimal(row["achieved_flops"]) / TERA,
        "peak_frac": _number_or_text(row["fraction_of_peak"]),
        "peak_used": row["peak_used"],
        "flops_rule": row["flops_rule"],
        "kind": kind,
        "source": row["source"],
        "note": remark.strip("()"),
    }


def _number_or_text(text: str) -> object:
    """Return a number, a range as [low, high], or text where there is more to it."""
    match = RANGE.fullmatch(text)
    if match is None:
        return text
    low, high = match.groups()
    return Decimal(low) if high is None else [Decimal(low), Decimal(high)]
