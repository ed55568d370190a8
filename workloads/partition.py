"""Who has which samples: partitions of a dataset over clients, and each client's own validation part.

A partition is a list with one ascending int64 array of sample indices per client; together they hold every sample
exactly once. Indices count the samples passed in: after a held-out split, `train_ids[part]` are those of the dataset.
`rng` fixes the result. A Dirichlet draw that leaves a client short of `min_samples` is repeated as a whole (the
result is the Dirichlet partition conditional on the minimum), up to 100 times.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from workloads.texts import DataError

Bins = Literal["quantile", "equal-width"]

_MAX_DRAWS = 100


class ValidationSplit(NamedTuple):
    """Sample indices to learn from and to validate on, both ascending and disjoint."""

    train_ids: np.ndarray
    validation_ids: np.ndarray


def length_dirichlet(
    lengths: np.ndarray,
    num_clients: int,
    rng: np.random.Generator,
    *,
    alpha: float,
    num_classes: int,
    min_samples: int,
    bins: Bins = "quantile",
) -> list[np.ndarray]:
    """Return a partition whose clients differ in the lengths of their samples (SplitFT, arXiv 2604.26388).

    Samples fall into classes by token length; each class is split over the clients by its own draw from
    Dir(alpha · 1). A small alpha gives each class to few clients, a large one gives every client the same mixture.

    Args:
        lengths: tokens of each sample.
        num_clients: length of the result.
        rng: the source of all draws.
        alpha: concentration, above 0.
        num_classes: classes by length; no more than there are samples, and fewer are left where many samples are of
            one length.
        min_samples: least samples of a client.
        bins: classes of (nearly) equally many samples, or of equal ranges of length.

    Raises:
        DataError: if `min_samples` cannot be had.
    """
    _check(len(lengths), num_clients, min_samples, alpha=alpha, num_classes=num_classes)
    classes = length_classes(lengths, min(num_classes, len(lengths)), bins)
    return _dirichlet_partition(
        classes, num_clients, rng, alpha=alpha, min_samples=min_samples, kind="length-dirichlet"
    )


def quantity_skew(
    num_samples: int, num_clients: int, rng: np.random.Generator, *, alpha: float, min_samples: int
) -> list[np.ndarray]:
    """Return a partition whose clients differ only in how many samples they have, by one draw from Dir(alpha · 1).

    Raises:
        DataError: if `min_samples` cannot be had.
    """
    _check(num_samples, num_clients, min_samples, alpha=alpha)
    one_class = np.zeros(num_samples, np.int64)
    return _dirichlet_partition(one_class, num_clients, rng, alpha=alpha, min_samples=min_samples, kind="quantity-skew")


def iid(num_samples: int, num_clients: int, rng: np.random.Generator, *, min_samples: int) -> list[np.ndarray]:
    """Return a partition at random into parts whose sizes differ by at most one.

    Raises:
        DataError: if `min_samples` cannot be had.
    """
    _check(num_samples, num_clients, min_samples)
    return [np.sort(part) for part in np.array_split(rng.permutation(num_samples), num_clients)]


def length_classes(lengths: np.ndarray, num_classes: int, bins: Bins = "quantile") -> np.ndarray:
    """Return each sample's class, int64, ascending with length; samples of one length are always of one class."""
    if bins == "quantile":
        inner = np.arange(1, num_classes) / num_classes
        edges = np.quantile(lengths, inner, method="inverted_cdf")
    elif bins == "equal-width":
        edges = np.linspace(lengths.min(), lengths.max(), num_classes + 1)[1:-1]
    else:
        raise DataError(f"partition bins {bins!r} is unknown (allowed: quantile, equal-width)")
    return np.searchsorted(edges, lengths, side="left")


def train_validation_split(ids: np.ndarray, frac: float, max_samples: int, rng: np.random.Generator) -> ValidationSplit:
    """Split one client's samples: `frac` of them for validation, at least one and at most `max_samples`.

    A client with one sample trains on it and validates on nothing; so do all if `frac` or `max_samples` is 0.

    Raises:
        DataError: if `frac` is not in [0, 1) or `max_samples` is negative.
    """
    if not 0 <= frac < 1 or max_samples < 0:
        raise DataError(f"expected 0 <= frac < 1 and max_samples >= 0, got frac {frac} and max_samples {max_samples}")
    num_validation = validation_size(len(ids), frac, max_samples)
    shuffled = rng.permutation(ids)
    return ValidationSplit(np.sort(shuffled[num_validation:]), np.sort(shuffled[:num_validation]))


def validation_size(num_samples: int, frac: float, max_samples: int) -> int:
    """Return how many of a client's samples are for validation; see `train_validation_split`."""
    wanted = max(1, round(frac * num_samples)) if frac > 0 else 0
    return max(0, min(wanted, max_samples, num_samples - 1))


def _check(num_samples: int, num_clients: int, min_samples: int, *, alpha: float = 1.0, num_classes: int = 1) -> None:
    if num_samples < 1 or num_clients < 1 or num_classes < 1 or min_samples < 0 or not 0 < alpha < np.inf:
        raise DataError(
            "a partition needs num_samples >= 1, num_clients >= 1, num_classes >= 1, min_samples >= 0 and a finite "
            f"alpha > 0, got {num_samples}, {num_clients}, {num_classes}, {min_samples} and {alpha}"
        )
    if num_samples < num_clients * min_samples:
        most = num_samples // num_clients
        remedy = f"at most {most} for each is" if most else f"at most {num_samples // min_samples:,} clients are"
        raise DataError(
            f"{num_clients:,} clients with at least {min_samples:,} samples each need {num_clients * min_samples:,}, "
            f"and the dataset has {num_samples:,} for training: {remedy} possible"
        )


def _dirichlet_partition(
    classes: np.ndarray, num_clients: int, rng: np.random.Generator, *, alpha: float, min_samples: int, kind: str
) -> list[np.ndarray]:
    class_sizes = np.bincount(classes)

    def draw() -> np.ndarray:
        return np.array([split_exactly(size, dirichlet(alpha, num_clients, rng)) for size in class_sizes.tolist()])

    counts = _draw_until(draw, min_samples, f"partition {kind}, alpha {alpha:g}")
    owners = np.empty(len(classes), np.int64)
    # A stable sort keeps the samples of a class together; shuffled, they go to the clients in turn.
    members = np.split(np.argsort(classes, kind="stable"), np.cumsum(class_sizes)[:-1])
    for ids, of_client in zip(members, counts, strict=True):
        owners[rng.permutation(ids)] = np.repeat(np.arange(num_clients), of_client)
    ends = np.cumsum(np.bincount(owners, minlength=num_clients))
    return np.split(np.argsort(owners, kind="stable"), ends[:-1])


def _draw_until(draw: Callable[[], np.ndarray], min_samples: int, what: str) -> np.ndarray:
    best = 0
    for _ in range(_MAX_DRAWS):
        counts = draw()
        smallest = int(counts.sum(axis=0).min())
        if smallest >= min_samples:
            return counts
        best = max(best, smallest)
    less = f", or set partition.min_samples to at most {best}" if best else ""
    raise DataError(
        f"{what}: in each of {_MAX_DRAWS} draws some client had fewer than {min_samples} samples (at best {best}); "
        f"raise partition.alpha, use fewer clients or more data{less}"
    )


def dirichlet(alpha: float, num_clients: int, rng: np.random.Generator) -> np.ndarray:
    """Return one draw from Dir(alpha · 1), float64 that sum to 1, for any finite alpha above 0.

    Normalised gamma variates. Below alpha 1 they may all underflow, so their logarithms are drawn instead:
    G(alpha) = G(alpha + 1) · U^(1/alpha) (Marsaglia and Tsang 2000, section 6).
    """
    if alpha >= 1:
        weights = rng.standard_gamma(alpha, num_clients)
        weights /= weights.max()
    else:
        scaled_logs = alpha * np.log(rng.standard_gamma(alpha + 1, num_clients)) - rng.standard_exponential(num_clients)
        # The largest becomes exp(0 / alpha) = 1 whatever alpha is, so the sum is never 0 or nan.
        with np.errstate(over="ignore", under="ignore"):
            weights = np.exp((scaled_logs - scaled_logs.max()) / alpha)
    shares: np.ndarray = weights / weights.sum()
    return shares


def split_exactly(total: int, shares: np.ndarray) -> np.ndarray:
    """Return whole numbers proportional to the shares that sum to `total` (largest remainder; ties to the first)."""
    exact = shares * total
    counts: np.ndarray = np.floor(exact).astype(np.int64)
    missing = total - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return counts
