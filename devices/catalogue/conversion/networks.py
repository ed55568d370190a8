"""`networks.csv` to network files, and the defaults of networks.

Where a source forbids redistribution or has no licence, only the parameters of a log-normal fitted to its data are
written.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from statistics import median

from devices.catalogue.conversion.text import Data, decimal
from devices.units import MEGA

Row = Mapping[str, str]

# Part of a source's name, and why its data does not go into the package.
NOT_REDISTRIBUTED = {
    "teamookla/ookla-open-data": "CC BY-NC-SA 4.0",
    "SIGCOMM21-5G/artifact": "no licence file",
    "confiwent/Real-world-bandwidth-traces": "no licence stated",
}
RAW_QUANTILES = re.compile(r"\d+(?:\.\d+)?/\d+(?:\.\d+)?/\d+(?:\.\d+)?")

# The kinds that the table gives in words, for downlink, uplink and round-trip time: the weakest of the numbers in each.
KINDS = {
    "us-fixed-user-2025": ("recalled", "assumed", "assumed"),
    "fedscale-mobiperf": ("derived", "derived", "derived"),
    "wifi5-2x2-cap": ("recalled", "recalled", "recalled"),
    "starlink-us-2025": ("assumed", "assumed", "assumed"),
    "geo-satellite": ("recalled", "recalled", "recalled"),
    "lan-1gbe": ("derived", "derived", "recalled"),
    "lan-10gbe": ("derived", "derived", "recalled"),
}
MEASURED = ("measured", "measured", "measured")

# key of the file, prefix of the quantile columns, their suffix, unit, columns of the log-normal
QUANTITIES = (
    ("downlink_mbit_per_s", "dl", "bps", MEGA, "dl_ln_mu_mbps", "dl_ln_sigma"),
    ("uplink_mbit_per_s", "ul", "bps", MEGA, "ul_ln_mu_mbps", "ul_ln_sigma"),
    ("rtt_ms", "rtt", "ms", 1, "rtt_ln_mu_ms", "rtt_ln_sigma"),
)
ONE_NUMBER_BOTH_WAYS = {"fedscale-mobiperf"}


def network_files(rows: Iterable[Row]) -> dict[str, Data]:
    """Return the YAML data of every row by id."""
    files: dict[str, Data] = {}
    above = ""
    for row in rows:
        above = row["notes"].replace("as above", above.rstrip("."))
        source = row["source"].replace(" (pages corpus)", "")  # how the compilers found it, not where it stands
        files[row["id"]] = _network_file({**row, "source": source, "notes": above})
    return files


def network_defaults(rows: Iterable[Row]) -> Data:
    """Return what fills the blanks of networks: the table's own advice for rates, else medians."""
    rows = list(rows)
    rtt = [Decimal(row["rtt_ln_sigma"]) for row in rows if row["rtt_ln_sigma"]]
    rho = [Decimal(row["rho_ln_dl_ul"]) for row in rows if row["rho_ln_dl_ul"]]
    named = "what the catalogue's tables advise for national medians"
    return {
        "rate_ln_sigma": {"value": Decimal("1.0"), "kind": "assumed", "source": named},
        "rtt_ln_sigma": {
            "value": round(median(rtt), 3),
            "kind": "assumed",
            "source": f"median of the {len(rtt)} networks of the catalogue whose spread is known",
        },
        "downlink_uplink_correlation": {
            "value": round(median(rho), 3),
            "kind": "assumed",
            "source": f"median of the {len(rho)} networks of the catalogue whose correlation is known",
        },
    }


def _network_file(row: Row) -> Data:
    why = next((reason for name, reason in NOT_REDISTRIBUTED.items() if name in row["source"]), None)
    kinds = KINDS.get(row["id"], MEASURED)
    remark = "" if row["kind"].lower() in kinds else row["kind"]
    return {
        "label": row["name"],
        "confidence": row["confidence"],
        "source": row["source"],
        "notes": _without_raw_quantiles(row["notes"]) if why else row["notes"],
        **{
            quantity[0]: _spread(row, quantity, kind, remark, why)
            for quantity, kind in zip(QUANTITIES, kinds, strict=True)
        },
        "downlink_uplink_correlation": _correlation(row),
        "within_session_cv": _plain(row["within_session_cv"], "derived" if why else kinds[0]),
    }


def _spread(
    row: Row, quantity: tuple[str, str, str, int, str, str], kind: str, remark: str, why: str | None
) -> Data | None:
    _, prefix, suffix, unit, mu, sigma = quantity
    quantiles = {
        p: decimal(row[f"{prefix}_{p}_{suffix}"], unit) for p in ("p10", "p50", "p90") if row[f"{prefix}_{p}_{suffix}"]
    }
    lognormal = {"ln_mu": Decimal(row[mu]), "ln_sigma": Decimal(row[sigma])} if row[mu] and row[sigma] else {}
    if why and quantiles:
        note = f"fitted to the measured data, which is not shipped: {why}"
        return {**lognormal, "kind": "derived", "note": note}
    numbers = {**quantiles, **lognormal}
    return {**numbers, "kind": kind, "note": remark} if numbers else None


def _correlation(row: Row) -> Data | None:
    if row["id"] in ONE_NUMBER_BOTH_WAYS:
        return {"value": Decimal(1), "kind": "derived", "note": "one number serves both directions"}
    return _plain(row["rho_ln_dl_ul"], "derived")


def _plain(text: str, kind: str) -> Data | None:
    return {"value": Decimal(text), "kind": kind} if text else None


def _without_raw_quantiles(notes: str) -> str:
    """Return notes without the sentences that quote a source's own quantiles, such as 13/15/22."""
    return " ".join(part for part in re.split(r"(?<=[.;]) ", notes) if not RAW_QUANTILES.search(part)).rstrip(";")
