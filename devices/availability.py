"""When clients are reachable, as plain data; nothing here is simulated."""

import math
from dataclasses import dataclass

from devices.profiles import Provenance


@dataclass(frozen=True, kw_only=True)
class LognormalDuration:
    """Log-normal times in s; `ks` is the Kolmogorov-Smirnov distance of the fit, None where there was none."""

    ln_mu_s: float
    ln_sigma: float
    ks: float | None = None


@dataclass(frozen=True, kw_only=True)
class HyperexponentialDuration:
    """Exponential times of mean `mean1_s` with probability `first_frac`, else of mean `mean2_s`."""

    first_frac: float
    mean1_s: float
    mean2_s: float
    ks: float | None = None


@dataclass(frozen=True, kw_only=True)
class WeibullDuration:
    """Weibull times."""

    shape: float
    scale_s: float
    ks: float | None = None


Duration = LognormalDuration | HyperexponentialDuration | WeibullDuration


def mean_s(duration: Duration) -> float:
    """Return the mean time in s; infinity where it is more than a number can say."""
    match duration:
        case LognormalDuration(ln_mu_s=mu, ln_sigma=sigma):
            return math.exp(mu + sigma**2 / 2)
        case HyperexponentialDuration(first_frac=first, mean1_s=mean1, mean2_s=mean2):
            return first * mean1 + (1 - first) * mean2
        case _:
            try:
                return duration.scale_s * math.gamma(1 + 1 / duration.shape)
            except OverflowError:
                return math.inf


@dataclass(frozen=True, kw_only=True)
class AvailabilityProfile:
    """When the clients of a population are reachable. None stands where the source says nothing.

    Attributes:
        id: The catalogue's name of the profile.
        label: Free text.
        process: `always`; `on-off-renewal` (alternating times from `on` and `off`); `sinusoid` (probability over the
            day); `bernoulli` (a coin for every step, see `rule`); `summary` (only totals are known).
        rule: What the numbers do not say, in words or as a formula.
        on: Fits of the times reachable, best first.
        off: Fits of the times unreachable, best first.
        on_mean_s: Mean time reachable.
        off_mean_s: Mean time unreachable.
        available_frac: Mean share of clients that are reachable.
        client_beta: Parameters of the Beta distribution of a client's own share of time.
        diurnal_mean_frac: Mean of the daily course.
        diurnal_amplitude_frac: Its amplitude.
        diurnal_ratio: Its maximum over its minimum.
        peak_local_h: Local hour of its maximum.
        period_s: Its period.
        dropout_frac: Lowest and highest share of participants that fail in a round beside that.
        over_selection_ratio: How many times as many clients are invited as are needed.
        confidence: `high`, `medium`, `low` or `not stated`.
        notes: Free text of the catalogue.
        provenance: Origin of all the numbers.
    """

    id: str
    label: str
    process: str
    rule: str | None
    on: tuple[Duration, ...]
    off: tuple[Duration, ...]
    on_mean_s: float | None
    off_mean_s: float | None
    available_frac: float | None
    client_beta: tuple[float, float] | None
    diurnal_mean_frac: float | None
    diurnal_amplitude_frac: float | None
    diurnal_ratio: float | None
    peak_local_h: float | None
    period_s: float | None
    dropout_frac: tuple[float, float] | None
    over_selection_ratio: float | None
    confidence: str
    notes: str
    provenance: Provenance


def mean_share(profile: AvailabilityProfile) -> float:
    """Return the mean share of time that clients of an on-off renewal are there in the long run."""
    if profile.client_beta is not None:
        a, b = profile.client_beta
        return a / (a + b)
    on_s, off_s = mean_s(profile.on[0]), mean_s(profile.off[0])
    return on_s / (on_s + off_s)
