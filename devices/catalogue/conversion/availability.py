"""`availability.csv` and the availability section of `fleets.yaml` to availability files."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from devices.catalogue.conversion.text import Data

Row = Mapping[str, str]

KINDS = {"derived": "derived", "measured (quoted)": "third-party", "code": "third-party"}
FIT = re.compile(r"(\w+)\(([^)]*)\)(?: KS (\.\d+))?")
FIT_KINDS = {"lognormal": "lognormal", "hyperexp2": "hyperexponential", "weibull": "weibull"}
FIT_KEYS = {
    "lognormal": {"mu_ln_s": "ln_mu_s", "sd": "ln_sigma"},
    "hyperexp2": {"p": "first_frac", "m1": "mean1_h", "m2": "mean2_h"},
    "weibull": {"k": "shape", "lam": "scale_h"},
}
NUMBER = re.compile(r"(\d*\.?\d+)(?: mean)?")
RANGE = re.compile(r"(\d*\.?\d+)-(\d*\.?\d+)")
BETA = re.compile(r"Beta\(([\d.]+),([\d.]+)\)")

# Process and origin (kind, source, notes) of the profiles of fleets.yaml, from the comments beside them there.
SUGGESTED = {
    "always-on": ("assumed", "definition", ""),
    "diurnal-phone": (
        "derived",
        "fit to the STUNner trace of 2014, see stunner-charged; drop-out, over-selection: Bonawitz et al. MLSys 2019",
        "A client's off-times are scaled so that its long-run availability is its draw of the Beta (floor 0.02).",
    ),
    "diurnal-phone-strong": (
        "assumed",
        "4x between night and day: Bonawitz et al. MLSys 2019; the mean is assumed",
        "",
    ),
    "diurnal-desktop": ("assumed", "assumed when the catalogue was compiled", ""),
}
PROCESSES = {"always": "always", "on_off_renewal": "on-off-renewal", "sinusoid": "sinusoid"}


def availability_files(rows: Iterable[Row], suggested: Mapping[str, Mapping[str, Any]]) -> dict[str, Data]:
    """Return the YAML data of every row and of every suggested profile by id; a formula joins the row of its id."""
    files: dict[str, dict[str, object]] = {}
    first_source = above = ""
    for row in rows:
        source = row["source"]
        first_source = first_source if source.startswith("same") else source
        above = above if row["notes"] == "as above" else row["notes"]
        files[row["id"]] = _measured({**row, "source": _full(source, first_source), "notes": above})
    for name, profile in suggested.items():
        if name in files:
            files[name]["rule"] = profile["formula"]
        else:
            files[name] = _suggested(name, profile)
    return dict(files)


def _full(source: str, first: str) -> str:
    return f"{first} ({source})" if source.startswith("same") else source


def _measured(row: Row) -> dict[str, object]:
    on, off = _fits(row["on_distribution"]), _fits(row["off_distribution"])
    beta = BETA.match(row["per_client_heterogeneity"])
    available = NUMBER.fullmatch(row["mean_available"])
    in_words = {
        "on": row["on_distribution"] if not on else "",
        "off": row["off_distribution"] if not off else "",
        "available": row["mean_available"] if not available else "",
        "clients": row["per_client_heterogeneity"] if not beta else "",
    }
    steps = row["on_distribution"].startswith("per-step") or row["on_distribution"].startswith("per-round")
    return {
        "label": row["name"],
        "kind": KINDS[row["kind"]],
        "source": row["source"],
        "confidence": row["confidence"],
        "notes": row["notes"],
        "process": "on-off-renewal" if on and off else "bernoulli" if steps else "summary",
        "rule": "; ".join(f"{key}: {text}" for key, text in in_words.items() if text),
        "on": on,
        "off": off,
        "on_mean_h": _number(row["on_mean_h"]),
        "off_mean_h": _number(row["off_mean_h"]),
        "available_frac": Decimal(available[1]) if available else None,
        "client_beta": [Decimal(beta[1]), Decimal(beta[2])] if beta else None,
        "diurnal_mean_frac": _number(row["diurnal_mean"]),
        "diurnal_amplitude_frac": _number(row["diurnal_amplitude"]),
        "diurnal_ratio": _number(row["max_over_min"]),
        "peak_local_h": _number(row["peak_local_hour"]),
        "dropout_frac": _dropout(row["dropout"]),
    }


def _suggested(name: str, profile: Mapping[str, Any]) -> dict[str, object]:
    kind, source, notes = SUGGESTED[name]
    diurnal, dropout = profile.get("diurnal", {}), profile.get("dropout")
    on, off = profile.get("on", {}).get("lognormal"), profile.get("off", {}).get("hyperexp2")
    period_s = profile.get("period_s")
    return {
        "label": name.replace("-", " "),
        "kind": kind,
        "source": source,
        "notes": notes,
        "process": PROCESSES[profile["kind"]],
        "rule": "the hour is the client's own" if profile.get("tz") == "client" else None,
        "on": [{"kind": "lognormal", "ln_mu_s": on["mu_ln_s"], "ln_sigma": on["sigma"]}] if on else None,
        "off": [
            {"kind": "hyperexponential", "first_frac": off["p"], "mean1_h": off["mean1_h"], "mean2_h": off["mean2_h"]}
        ]
        if off
        else None,
        "available_frac": profile.get("p_mean"),
        "client_beta": profile.get("client_mean", {}).get("beta"),
        "diurnal_mean_frac": diurnal.get("mean"),
        "diurnal_amplitude_frac": diurnal.get("amplitude"),
        "diurnal_ratio": profile.get("low_high_ratio"),
        "peak_local_h": diurnal.get("peak_local_hour"),
        "period_h": period_s / 3600 if period_s else None,
        "dropout_frac": None if dropout is None else [dropout, dropout],
        "over_selection_ratio": profile.get("over_selection"),
    }


def _fits(text: str) -> list[Data]:
    """Return fits such as `lognormal(mu_ln_s=8.28,sd=1.34) KS .046; weibull(k=1,lam=5h)`, or none for other text."""
    fits: list[Data] = []
    for part in text.split("; "):
        match = FIT.fullmatch(part)
        names = FIT_KEYS.get(match[1], {}) if match else {}
        numbers = dict(number.split("=") for number in match[2].split(",")) if match and names else {}
        if not match or not names or set(numbers) != set(names):
            return []
        keys = {names[name]: Decimal(number.removesuffix("h")) for name, number in numbers.items()}
        fits.append({"kind": FIT_KINDS[match[1]], **keys, "ks": _number(match[3] or "")})
    return fits


def _number(text: str) -> Decimal | None:
    return Decimal(text) if text else None


def _dropout(text: str) -> list[Decimal] | None:
    """Return the lowest and highest share of `0.06-0.10` or of `0.1 mean`."""
    if bounds := RANGE.fullmatch(text):
        return [Decimal(bounds[1]), Decimal(bounds[2])]
    return [Decimal(single[1])] * 2 if (single := NUMBER.fullmatch(text)) else None
