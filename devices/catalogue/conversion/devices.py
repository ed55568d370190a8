"""`devices.csv` to device files, and the defaults of each tier."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from statistics import median

from devices.catalogue.conversion.text import Data, decimal, gib
from devices.units import GIGA, TERA

Row = Mapping[str, str]

KINDS = {"V": "vendor", "M": "measured", "D": "derived", "T": "third-party", "R": "recalled", "assumed": "assumed"}
WEAKEST_LAST = tuple(KINDS.values())
ORIGIN = re.compile(r"(\w+)=([VMDTR](?:/[VMDTR])*|assumed)(?:\((.*)\))?")
BANDWIDTH_EFFICIENCY = re.compile(r"bw_eff (\.\d+)")

# Tensor cores from Ampere (A, RTX 30, Orin) on run bfloat16 at the rate of float16.
BF16_AT_FP16_RATE = {
    *("nvidia-a10", "nvidia-a40", "nvidia-a100-40gb-sxm", "nvidia-a100-80gb-sxm", "nvidia-l4", "nvidia-l40s"),
    *("nvidia-h100-sxm-80gb", "nvidia-h100-pcie-80gb", "nvidia-h200-sxm-141gb"),
    *("rtx-3060-12gb", "rtx-3070", "rtx-3090", "rtx-4060-8gb", "rtx-4090", "rtx-5090"),
    *("laptop-rtx3060-6gb", "laptop-rtx4070-8gb"),
    *("jetson-orin-nano-8gb", "jetson-orin-nano-super-8gb", "jetson-orin-nx-16gb", "jetson-agx-orin-64gb"),
}
# The table's fp16 column holds the peak of AMX, which multiplies bfloat16 but, in this generation, not float16.
FP16_COLUMN_IS_BF16 = {"cpu-xeon-8480"}


def device_file(row: Row) -> Data:
    """Return the YAML data of one row."""
    origins = _origins(row["kind"])
    fp16 = _number(decimal(row["peak_fp16_flops"], TERA), origins["fp16"])
    bf16: Data | None = None
    if row["id"] in FP16_COLUMN_IS_BF16:
        bf16, fp16 = fp16, {}
    elif row["id"] in BF16_AT_FP16_RATE:
        note = "tensor cores from Ampere on run bfloat16 at the rate of float16"
        bf16 = _number(decimal(row["peak_fp16_flops"], TERA), ("derived", note))
    return {
        "label": row["name"],
        "tier": row["tier"],
        "accelerator": {"gpu(unified)": "unified-gpu"}.get(row["accelerator"], row["accelerator"]),
        "confidence": row["confidence"],
        "source": row["source_url_or_citation"],
        "notes": row["notes"].strip(),
        "peak_fp32_tflops": _number(decimal(row["peak_fp32_flops"], TERA), origins["fp32"]),
        "peak_fp16_tflops": fp16 or None,
        "peak_bf16_tflops": bf16,
        "cpu_peak_fp32_tflops": _cpu_peak(row, origins),
        "achieved_frac": _achieved(row, origins),
        "bandwidth_efficiency_frac": _bandwidth_efficiency(row),
        "memory_gib": _number(gib(row["memory_bytes"]), origins["mem"]),
        "memory_usable_gib": _number(gib(row["memory_usable_bytes"]), origins.get("usable", UNSTATED)),
        "memory_bandwidth_gbyte_per_s": _number(decimal(row["memory_bandwidth_bytes_per_s"], GIGA), origins["bw"]),
        "power_active_w": _number(decimal(row["power_w"]), origins["power"]),
        "training_frac": _training(row, origins),
    }


def tier_defaults(rows: Iterable[Row]) -> Data:
    """Return, for each tier, the medians of what its devices have."""
    tiers: dict[str, list[Row]] = {}
    for row in rows:
        tiers.setdefault(row["tier"], []).append(row)
    return {
        tier: {
            "achieved_frac": _median(
                [Decimal(row[ACHIEVED]) for row in members if row[ACHIEVED]], f"the {tier} devices of the catalogue"
            ),
            "memory_usable_frac": _median(
                [Decimal(row["memory_usable_bytes"]) / Decimal(row["memory_bytes"]) for row in members],
                f"usable over whole memory of the {tier} devices of the catalogue",
            ),
        }
        for tier, members in tiers.items()
    }


ACHIEVED = "achieved_fraction_or_blank"
UNSTATED = ("assumed", "origin not stated in devices.csv")


def _median(values: list[Decimal], of_what: str) -> Data:
    rounded = round(median(values), 3)
    return {"value": rounded, "kind": "assumed", "source": f"median of {of_what} ({len(values)} of them)"}


def _origins(text: str) -> dict[str, tuple[str, str]]:
    """Return kind and note by column from text such as `fp32=V;fp16=D/R(no native FP16)`; of two kinds the weaker."""
    origins = {}
    for part in text.split(";"):
        match = ORIGIN.fullmatch(part)
        if match is None:
            msg = f"cannot read the kind '{part}'"
            raise ValueError(msg)
        column, letters, remark = match.groups()
        kinds = sorted((KINDS[letter] for letter in letters.split("/")), key=WEAKEST_LAST.index)
        mixed = f"partly {kinds[0]}" if len(kinds) > 1 else ""
        origins[column] = (kinds[-1], "; ".join(filter(None, (mixed, remark))))
    return origins


def _number(value: Decimal, origin: tuple[str, str], **more: str) -> Data:
    return {"value": value, "kind": origin[0], **more, "note": origin[1]}


def _achieved(row: Row, origins: Mapping[str, tuple[str, str]]) -> Data | None:
    if not row[ACHIEVED]:
        return None
    kind, remark = origins["achieved"]
    basis = row["achieved_basis"]
    if basis == "assumed":
        return _number(Decimal(row[ACHIEVED]), ("assumed", remark))
    kind = "assumed" if basis.startswith("assumed") else kind
    return _number(Decimal(row[ACHIEVED]), (kind, "; ".join(filter(None, (remark, basis)))))


def _bandwidth_efficiency(row: Row) -> Data | None:
    match = BANDWIDTH_EFFICIENCY.search(row["notes"])
    if match is None:
        return None
    vidur = next(source for source in row["source_url_or_citation"].split(" | ") if "vidur" in source)
    return _number(Decimal(match[1]), ("measured", "two-norm roofline fitted to matrix products"), source=vidur)


def _cpu_peak(row: Row, origins: Mapping[str, tuple[str, str]]) -> Data | None:
    if not row["cpu_peak_fp32_flops"]:
        return None
    same = Decimal(row["cpu_peak_fp32_flops"]) == Decimal(row["peak_fp32_flops"])
    return _number(decimal(row["cpu_peak_fp32_flops"], TERA), origins["fp32"] if same else UNSTATED)


def _training(row: Row, origins: Mapping[str, tuple[str, str]]) -> Data | None:
    if not row["train_fraction_or_blank"]:
        return None
    bounds = [Decimal(bound) for bound in row["train_fraction_or_blank"].split("-")]
    kind, _ = origins.get("train", UNSTATED)
    return {"low": bounds[0], "high": bounds[-1], "kind": kind, "note": row["train_basis"]}
