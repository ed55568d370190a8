"""What can be said of differences between runs, and how surely. No folders here: numbers in, numbers out.

Runs of one seed share their draws, so two settings are compared by the differences of their pairs. Only another seed
makes another draw: pairs of one seed, on other fleets say, are averaged before anything is said of chance, as twelve
pairs of three seeds are three repetitions and not twelve (Hurlbert 1984, Ecological Monographs 54:187). Intervals of
few seeds are Student's, which are right for normal differences; from `MIN_BOOTSTRAP` seeds on they are bootstrap
intervals, which ask for no distribution. A few seeds never become many by resampling: with n equal signs alone the
bootstrap would call 1 in 2^(n-1) comparisons of equal things significant. Plain bootstrap intervals (percentile, BCa)
are also too narrow for a dozen values, so their level is raised as Hesterberg proposes (2015, The American Statistician
69:371).
"""

import math
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
MIN_BOOTSTRAP = 10
NUM_RESAMPLES = 9_999
ROUNDING = 1e-12  # what differs by so little of its size differs by the order of its sums alone
_SEED = 0  # of resampling: the same numbers give the same interval


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much larger something is in one setting than in another.

    Attributes:
        mean: of the differences of pairs, each seed counting once.
        low, high: 95 % interval of the mean; None for a single seed, of which nothing can be said.
        num_pairs, num_seeds: how many.
        method: of the interval: `student` or `bootstrap`; `none` for a single seed.
    """

    mean: float
    low: float | None
    high: float | None
    num_pairs: int
    num_seeds: int
    method: str

    @property
    def is_significant(self) -> bool:
        """Return whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and not self.low <= 0.0 <= self.high


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], seeds: Sequence[Hashable] | None = None
) -> Difference:
    """Return the mean of `values - baseline` with its interval; pairs with an unknown number are left out.

    Args:
        values: of each pair.
        baseline: what each is compared with.
        seeds: of each pair; None where each has its own.

    Raises:
        ValueError: there is no pair.
    """
    pairs = np.array([values, baseline], dtype=np.float64)
    known = np.asarray(np.isfinite(pairs).all(axis=0))
    if not known.any():
        raise ValueError("there is no pair of known numbers")
    after, before = pairs[:, known]
    differences = after - before
    differences[np.abs(differences) <= ROUNDING * np.maximum(np.abs(after), np.abs(before))] = 0.0
    means = by_seed(differences, None if seeds is None else list(compress(seeds, known)))
    low, high, method = interval(means)
    return Difference(
        mean=float(means.mean()), low=low, high=high, num_pairs=int(known.sum()), num_seeds=len(means), method=method
    )


def by_seed(values: Floats, seeds: Sequence[Hashable] | None) -> Floats:
    """Return the mean of the values of each seed; the values themselves where each has a seed of its own.

    Args:
        values: shape [n] or [n, places].
        seeds: of each of the n.
    """
    if seeds is None:
        return values
    places: dict[Hashable, list[int]] = {}
    for place, seed in enumerate(seeds):
        places.setdefault(seed, []).append(place)
    return np.array([values[rows].mean(axis=0) for rows in places.values()])


def interval(values: Floats) -> tuple[float | None, float | None, str]:
    """Return the 95 % interval of a mean, and by which method."""
    if len(values) < 2:
        return None, None, "none"
    mean = float(values.mean())
    if np.ptp(values) <= ROUNDING * abs(mean):  # the same for every seed
        return mean, mean, "student"
    if len(values) < MIN_BOOTSTRAP:
        half = half_width(values)
        return mean - half, mean + half, "student"
    bootstrap = stats.bootstrap(
        (values,), np.mean, confidence_level=_expanded(len(values)), n_resamples=NUM_RESAMPLES, method="percentile",
        rng=np.random.default_rng(_SEED),
    )  # fmt: skip
    found = bootstrap.confidence_interval
    return float(found.low), float(found.high), "bootstrap"


def _expanded(num_values: int) -> float:
    """Return the level at which a percentile interval of normal values is as wide as Student's."""
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, num_values - 1) * math.sqrt(num_values / (num_values - 1))
    return float(2 * stats.norm.cdf(quantile) - 1)


def half_width(values: Floats) -> float:
    """Return half of Student's 95 % interval of a mean; NaN for fewer than two values."""
    if len(values) < 2:
        return math.nan
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return float(quantile * values.std(ddof=1) / math.sqrt(len(values)))


@dataclass(frozen=True, kw_only=True)
class TimeToTarget:
    """When runs of one setting reached a target, those counted that never did.

    Attributes:
        num_runs, num_reached: how many.
        median_s: by which half of the runs have reached it (Kaplan & Meier 1958); None where fewer than half did while
            they were watched.
        mean_s: until the end of the shortest watch, `horizon_s`, how long a run is short of the target on average (the
            restricted mean).
        horizon_s: until when all runs that have not reached it were watched.
    """

    num_runs: int
    num_reached: int
    median_s: float | None
    mean_s: float
    horizon_s: float


def time_to_target(followed_s: Sequence[float], reached: Sequence[bool]) -> TimeToTarget:
    """Return when a target was reached.

    Args:
        followed_s: when each run reached it, or until when it was watched in vain.
        reached: whether it did.

    Raises:
        ValueError: there is no run.
    """
    times, events = np.asarray(followed_s, dtype=np.float64), np.asarray(reached, dtype=bool)
    if len(times) == 0:
        raise ValueError("there is no run")
    horizon_s = float(times[~events].min()) if (~events).any() else float(times.max())
    if not events.any():
        return TimeToTarget(num_runs=len(times), num_reached=0, median_s=None, mean_s=horizon_s, horizon_s=horizon_s)
    survival = stats.ecdf(stats.CensoredData(uncensored=times[events], right=times[~events])).sf
    below = survival.quantiles[survival.probabilities <= 0.5]
    steps = np.concatenate([[0.0], survival.quantiles[survival.quantiles < horizon_s], [horizon_s]])
    heights = np.concatenate([[1.0], survival.probabilities[survival.quantiles < horizon_s]])
    return TimeToTarget(
        num_runs=len(times),
        num_reached=int(events.sum()),
        median_s=float(below[0]) if len(below) else None,
        mean_s=float((np.diff(steps) * heights).sum()),
        horizon_s=horizon_s,
    )


def pareto_front(frame: pd.DataFrame, metrics: Sequence[str], higher_is_better: Collection[str] = ()) -> pd.Series:
    """Return for each row whether no other row is at least as good in every metric and better in one.

    Lower is better, but in the metrics named. Rows with an unknown number are not on the front. Equal rows are on it
    together.

    Raises:
        ValueError: the metrics are not all known in any row.
    """
    signs = [-1.0 if metric in higher_is_better else 1.0 for metric in metrics]
    points = frame[list(metrics)].to_numpy(dtype=np.float64) * signs
    known = np.isfinite(points).all(axis=1)
    if not known.any():
        raise ValueError(f"there is no case with a known {' and '.join(metrics)}")
    beaten = np.array(
        [bool(((points[known] <= point).all(axis=1) & (points[known] < point).any(axis=1)).any()) for point in points],
        dtype=bool,
    )
    return pd.Series(known & ~beaten, index=frame.index, name="pareto")


def known_values(frame: pd.DataFrame, metric: str) -> pd.Series:
    """Return a metric of every case.

    Raises:
        ValueError: it is not known in some case; the text says in how many.
    """
    values = frame[metric].astype(float)
    if not np.isfinite(values).all():
        raise ValueError(f"{metric} is unknown in {int((~np.isfinite(values)).sum())} of {len(values)} cases")
    return values


def is_whole_grid(frame: pd.DataFrame, keys: Sequence[str]) -> bool:
    """Return whether there are equally many cases, and some, for each combination of the values of keys."""
    counts = frame.groupby(list(keys), dropna=False, observed=True, sort=False).size()
    return bool(counts.min() == counts.max() and len(counts) == math.prod(len(frame[key].unique()) for key in keys))


def main_effects(frame: pd.DataFrame, factors: Sequence[str], metric: str) -> pd.DataFrame:
    """Return how much each factor explains of a metric's variation over a balanced grid.

    Columns: `effect` (a factor, or two with ` x ` between: their interaction beyond both), `share` of the sum of
    squares in [0, 1], `low` and `high` (the least and the largest mean of the metric over a level), both None for
    interactions. Factors of which one's value tells the other's, and the other way round, are one, with ` & ` between.
    The rest is due to seeds and to higher interactions. Sums of squares add up only on a balanced grid.

    Raises:
        ValueError: nothing varies, some combination of levels has more rows than another, or the metric is not known in
            some row.
    """
    values = known_values(frame, metric)
    varied = [factor for factor in factors if len(frame[factor].unique()) > 1]
    if not varied:
        raise ValueError("main effects need a key with two values or more: in these cases nothing varies but seeds")
    together = _varying_together(frame, varied)
    varied = [" & ".join(keys) for keys in together]
    frame = pd.DataFrame({name: frame[keys[0]] for name, keys in zip(varied, together, strict=True)}, frame.index)
    if not is_whole_grid(frame, varied):
        raise ValueError("main effects need a whole grid: equally many cases for each combination of levels")
    total = float(((values - values.mean()) ** 2).sum())
    if np.ptp(values) <= ROUNDING * float(values.abs().max()):
        total = 0.0  # the same in every case
    rows, alone = list[tuple[str, float, float | None, float | None]](), dict[str, float]()
    for factor in varied:
        means = values.groupby(frame[factor], dropna=False, sort=False).transform("mean")
        alone[factor] = float(((means - values.mean()) ** 2).sum())
        rows.append((factor, alone[factor], float(means.min()), float(means.max())))
    for place, first in enumerate(varied):
        for second in varied[place + 1 :]:
            means = values.groupby([frame[first], frame[second]], dropna=False, sort=False).transform("mean")
            joint = float(((means - values.mean()) ** 2).sum())
            rows.append((f"{first} x {second}", joint - alone[first] - alone[second], None, None))
    table = pd.DataFrame(rows, columns=["effect", "share", "low", "high"])
    return table.assign(share=(table["share"] / total).clip(lower=0.0) if total > 0 else 0.0)


def _varying_together(frame: pd.DataFrame, factors: Sequence[str]) -> list[list[str]]:
    """Return the factors, those together of which one's value tells the other's and the other way round."""
    together: dict[bytes, list[str]] = {}
    for factor in factors:
        levels = pd.factorize(frame[factor], use_na_sentinel=False)[0]  # numbered in order of appearance
        together.setdefault(levels.tobytes(), []).append(factor)
    return list(together.values())
