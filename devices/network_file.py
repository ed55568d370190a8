"""A network as its YAML file states it, and the profile in base units that follows."""

import math
from collections.abc import Callable
from typing import Literal

from pydantic.dataclasses import dataclass

from devices.defaults import defaults
from devices.networks import NetworkProfile, Spread
from devices.problems import InputError
from devices.profiles import Provenance
from devices.strict_yaml import Document, validate
from devices.units import LEAST_MBIT_PER_S, bytes_per_s_from_mbit_per_s, s_from_ms
from devices.values import (
    STRICT,
    Above,
    Confidence,
    Correlation,
    Id,
    LnMean,
    LnSigma,
    NonNegative,
    PositiveNumber,
    Stated,
    origin_of,
    value_of,
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SpreadStated(Stated):
    """One value for all clients; quantiles; or mean and deviation of the logarithm, in the key's unit, of a log-normal.

    Quantiles count where a log-normal is given as well. A median alone takes its spread from the defaults.
    """

    value: Above | None = None
    p10: Above | None = None
    p50: Above | None = None
    p90: Above | None = None
    ln_mu: LnMean | None = None
    ln_sigma: LnSigma | None = None

    def __post_init__(self) -> None:
        """Refuse what states no spread.

        Raises:
            ValueError: The keys that are given do not belong together, or the quantiles are not in order.
        """
        numbers = {key for key in ("value", "p10", "p50", "p90", "ln_mu", "ln_sigma") if getattr(self, key) is not None}
        quantiles, lognormal = {"p10", "p50", "p90"}, {"ln_mu", "ln_sigma"}
        if numbers not in ({"value"}, {"p50"}, quantiles, lognormal, quantiles | lognormal):
            msg = "give `value`; or `p10`, `p50` and `p90`; or `p50` alone; or `ln_mu` and `ln_sigma`"
            raise ValueError(msg)
        if self.p10 and self.p50 and self.p90 and not self.p10 <= self.p50 <= self.p90:
            msg = f"p10, p50 and p90 must not decrease, got {self.p10:g}, {self.p50:g}, {self.p90:g}"
            raise ValueError(msg)


SpreadValue = Above | SpreadStated


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NetworkFile:
    """Keys of a network file, in human units. A plain number is the same for all clients."""

    type: Literal["network"] = "network"
    id: Id | None = None
    label: str | None = None
    confidence: Confidence = "not stated"
    source: str | None = None
    notes: str = ""
    downlink_mbit_per_s: SpreadValue | None = None
    uplink_mbit_per_s: SpreadValue | None = None
    rtt_ms: SpreadValue | None = None
    downlink_uplink_correlation: Correlation | None = None
    within_session_cv: NonNegative | None = None


def network_profile(document: Document, name: str) -> NetworkProfile:
    """Return the profile that a network file states; a rate or time that it leaves out is None and makes it unusable.

    Args:
        document: The file.
        name: Id of the network where the file gives none.

    Raises:
        InputError: The file breaks the rules; every violation is told.
    """
    stated, blank = validate(NetworkFile, document), defaults().networks
    mbit = bytes_per_s_from_mbit_per_s
    parts = {
        "downlink_bytes_per_s": (stated.downlink_mbit_per_s, mbit, blank.rate_ln_sigma),
        "uplink_bytes_per_s": (stated.uplink_mbit_per_s, mbit, blank.rate_ln_sigma),
        "rtt_s": (stated.rtt_ms, s_from_ms, blank.rtt_ln_sigma),
    }
    _check_rates(stated, document)
    given = stated.downlink_uplink_correlation
    correlation = blank.downlink_uplink_correlation if given is None else given
    origins: dict[str, Provenance] = {}
    for field, (spread, _, sigma) in parts.items():
        if spread is not None:
            origins |= _origins(field, spread, sigma, stated.source, document.file)
    origins["downlink_uplink_correlation"] = origin_of(correlation, stated.source, document.file)
    if stated.within_session_cv is not None:
        origins["within_session_cv"] = origin_of(stated.within_session_cv, stated.source, document.file)
    identity = stated.id or name
    return NetworkProfile(
        id=identity,
        label=stated.label or identity,
        confidence=stated.confidence,
        downlink_bytes_per_s=_spread(*parts["downlink_bytes_per_s"]),
        uplink_bytes_per_s=_spread(*parts["uplink_bytes_per_s"]),
        rtt_s=_spread(*parts["rtt_s"]),
        downlink_uplink_correlation=value_of(correlation),
        within_session_cv=None if stated.within_session_cv is None else value_of(stated.within_session_cv),
        notes=stated.notes,
        provenance=origins,
    )


def _check_rates(stated: NetworkFile, document: Document) -> None:
    """Make sure that links carry something.

    Raises:
        InputError: A median is below one byte a second.
    """
    problems = []
    for key in ("downlink_mbit_per_s", "uplink_mbit_per_s"):
        spread = _spread(getattr(stated, key), float, defaults().networks.rate_ln_sigma)
        if spread is not None and spread.median < LEAST_MBIT_PER_S:
            message = f"must be at least {LEAST_MBIT_PER_S:g} (1 byte/s), got {spread.median:g}"
            problems.append(document.problem(message, (key,), spread.median))
    if problems:
        raise InputError(*problems)


def _spread(given: SpreadValue | None, to_base: Callable[[float], float], sigma: PositiveNumber) -> Spread | None:
    """Return a stated spread in base units; `sigma` is for a median alone."""
    if given is None:
        return None
    if not isinstance(given, SpreadStated):
        return Spread.constant(to_base(given))
    if given.value is not None:
        return Spread.constant(to_base(given.value))
    if given.p50 is None:
        assert given.ln_mu is not None
        assert given.ln_sigma is not None
        return Spread.lognormal(to_base(math.exp(given.ln_mu)), given.ln_sigma)
    if given.p10 is None or given.p90 is None:
        return Spread.lognormal(to_base(given.p50), sigma.value)
    return Spread.quantiles(to_base(given.p10), to_base(given.p50), to_base(given.p90))


def _origins(
    field: str, given: SpreadValue, sigma: PositiveNumber, source: str | None, file: str
) -> dict[str, Provenance]:
    """Return the origin of a spread; where only a median is stated, of the median and of what is assumed around it."""
    origin = origin_of(given, source, file)
    if not isinstance(given, SpreadStated) or given.p50 is None or given.p10 is not None:
        return {field: origin}
    return {field: origin_of(sigma, None, file), f"{field}.median": origin}
