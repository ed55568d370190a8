"""An availability profile as its YAML file states it."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from devices.availability import (
    AvailabilityProfile,
    Duration,
    HyperexponentialDuration,
    LognormalDuration,
    WeibullDuration,
    mean_s,
    mean_share,
)
from devices.problems import InputError
from devices.strict_yaml import Document, validate
from devices.units import s_from_h
from devices.values import MOST, STRICT, Above, Confidence, Id, Kind, LnMean, LnSigma, Stated, origin_of

LEAST_MEAN_SHARE = 1e-6  # of time, there and away: an hour in a century

Frac = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Lognormal:
    """Times whose logarithm, in seconds, is normal."""

    kind: Literal["lognormal"]
    ln_mu_s: LnMean
    ln_sigma: LnSigma
    ks: Frac | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Hyperexponential:
    """Exponential times of one mean or another."""

    kind: Literal["hyperexponential"]
    first_frac: Frac
    mean1_h: Above
    mean2_h: Above
    ks: Frac | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Weibull:
    """Weibull times."""

    kind: Literal["weibull"]
    shape: Above
    scale_h: Above
    ks: Frac | None = None


Fit = Annotated[Lognormal | Hyperexponential | Weibull, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AvailabilityFile:
    """Keys of an availability file, in human units; `kind` and `source` hold for all its numbers."""

    type: Literal["availability"] = "availability"
    id: Id | None = None
    label: str | None = None
    kind: Kind = "user"
    source: str | None = None
    confidence: Confidence = "not stated"
    notes: str = ""
    process: Literal["always", "on-off-renewal", "sinusoid", "bernoulli", "summary"]
    rule: str | None = None
    on: tuple[Fit, ...] = ()
    off: tuple[Fit, ...] = ()
    on_mean_h: Above | None = None
    off_mean_h: Above | None = None
    available_frac: Frac | None = None
    client_beta: tuple[Above, Above] | None = None
    diurnal_mean_frac: Frac | None = None
    diurnal_amplitude_frac: Frac | None = None
    diurnal_ratio: Above | None = None
    peak_local_h: Annotated[float, Field(ge=0, lt=24)] | None = None
    period_h: Above | None = None
    dropout_frac: tuple[Frac, Frac] | None = None
    over_selection_ratio: Annotated[float, Field(ge=1, le=MOST)] | None = None


def availability_profile(document: Document, name: str) -> AvailabilityProfile:
    """Return the profile that an availability file states.

    Args:
        document: The file.
        name: Id of the profile where the file gives none.

    Raises:
        InputError: The file breaks the rules; every violation is told.
    """
    stated = validate(AvailabilityFile, document)
    if stated.process == "on-off-renewal" and not (stated.on and stated.off):
        raise InputError(document.problem("on-off-renewal needs `on` and `off`", ("process",), stated.process))
    if stated.dropout_frac is not None and stated.dropout_frac[0] > stated.dropout_frac[1]:
        raise InputError(document.problem("the lowest share comes first", ("dropout_frac",), stated.dropout_frac))
    identity = stated.id or name
    profile = AvailabilityProfile(
        id=identity,
        label=stated.label or identity,
        process=stated.process,
        rule=stated.rule,
        on=_durations(stated.on),
        off=_durations(stated.off),
        on_mean_s=_seconds(stated.on_mean_h),
        off_mean_s=_seconds(stated.off_mean_h),
        available_frac=stated.available_frac,
        client_beta=stated.client_beta,
        diurnal_mean_frac=stated.diurnal_mean_frac,
        diurnal_amplitude_frac=stated.diurnal_amplitude_frac,
        diurnal_ratio=stated.diurnal_ratio,
        peak_local_h=stated.peak_local_h,
        period_s=_seconds(stated.period_h),
        dropout_frac=stated.dropout_frac,
        over_selection_ratio=stated.over_selection_ratio,
        confidence=stated.confidence,
        notes=stated.notes,
        provenance=origin_of(Stated(kind=stated.kind, source=stated.source), None, document.file),
    )
    if profile.process == "on-off-renewal":
        _check_renewal(profile, document)
    return profile


def _check_renewal(profile: AvailabilityProfile, document: Document) -> None:
    """Raise InputError where times are so long or so short beside each other that nobody ever comes, or goes."""
    for key, duration in (("on", profile.on[0]), ("off", profile.off[0])):
        if math.isinf(mean_s(duration)):
            raise InputError(document.problem("the mean of these times is more than a number can say", (key, 0)))
    share = mean_share(profile)
    if not LEAST_MEAN_SHARE <= share <= 1 - LEAST_MEAN_SHARE:
        of_beta = profile.client_beta is not None
        why = "client_beta" if of_beta else f"{mean_s(profile.on[0]):.3g} s there, {mean_s(profile.off[0]):.3g} s away"
        told = "always" if share > 0.5 else "never"
        message = (
            f"clients would be there practically {told}: a mean share of time of {share:.9g} (by {why}); expected at "
            f"least {LEAST_MEAN_SHARE:g} of it there, and away. Use `process: always` for clients that never go"
        )
        raise InputError(document.problem(message, ("client_beta",) if of_beta else ("on",)))


def _seconds(hours: float | None) -> float | None:
    return None if hours is None else s_from_h(hours)


def _durations(fits: Sequence[Lognormal | Hyperexponential | Weibull]) -> tuple[Duration, ...]:
    return tuple(_duration(fit) for fit in fits)


def _duration(fit: Lognormal | Hyperexponential | Weibull) -> Duration:
    if isinstance(fit, Lognormal):
        return LognormalDuration(ln_mu_s=fit.ln_mu_s, ln_sigma=fit.ln_sigma, ks=fit.ks)
    if isinstance(fit, Weibull):
        return WeibullDuration(shape=fit.shape, scale_s=s_from_h(fit.scale_h), ks=fit.ks)
    return HyperexponentialDuration(
        first_frac=fit.first_frac, mean1_s=s_from_h(fit.mean1_h), mean2_s=s_from_h(fit.mean2_h), ks=fit.ks
    )
