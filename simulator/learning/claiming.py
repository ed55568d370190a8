"""Work that several runs ask for at the same time is done by one of them; the others take over its results."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from workloads.claims import Claim

Unit = TypeVar("Unit")


class Claims(Protocol):
    """Where runs tell each other what they are computing."""

    def claim(self, name: str, *, wait: bool) -> Claim | None:
        """Return the right to compute something; None where somebody else has it and `wait` is false."""


def share(
    claims: Claims,
    units: Mapping[str, Unit],
    *,
    is_done: Callable[[Unit], bool],
    compute: Callable[[Sequence[Unit]], None],
    later: Callable[[Callable[[], None]], None],
    num_at_once: int = 1,
) -> None:
    """Have each unit computed once by whoever comes first.

    What nobody else is at is computed first, so that runs that ask for the same divide it between them. Nothing is held
    while waiting for others, so that no two can wait for each other.

    Args:
        claims: shared with the other runs.
        units: what is wanted, by name.
        is_done: looks whether a unit has been computed by now, and takes its results over if so.
        compute: computes units and begins to keep their results.
        later: does a job once all results that are being kept are kept.
        num_at_once: so many units are computed together at most.
    """
    waiting, wait = dict(units), False
    while waiting:
        num_waiting, names = len(waiting), iter(list(waiting))
        while mine := _claim(claims, names, num_at_once, wait=wait):
            wait = False
            try:
                todo = [waiting[name] for name in mine if not is_done(waiting[name])]
                if todo:
                    compute(todo)
            except BaseException:
                for claim in mine.values():
                    claim.release()
                raise
            for name, claim in mine.items():
                del waiting[name]
                later(claim.finish)
        wait = len(waiting) == num_waiting


def _claim(claims: Claims, names: Iterator[str], num_at_once: int, *, wait: bool) -> dict[str, Claim]:
    """Claim the next units that nobody else has; wait for the first one where that is asked for."""
    mine: dict[str, Claim] = {}
    for name in names:
        claim = claims.claim(name, wait=wait and not mine)
        if claim is not None:
            mine[name] = claim
        if len(mine) == num_at_once:
            break
    return mine
