"""Work that several runs ask for at the same time is done by one of them; the others take over its results."""

from collections.abc import Callable, Mapping
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
    compute: Callable[[Unit], None],
    later: Callable[[Callable[[], None]], None],
) -> None:
    """Have each unit computed once by whoever comes first.

    What nobody else is at is computed first, so that runs that ask for the same divide it between them. Nothing is held
    while waiting for others, so that no two can wait for each other.

    Args:
        claims: shared with the other runs.
        units: what is wanted, by name.
        is_done: looks whether a unit has been computed by now, and takes its results over if so.
        compute: computes a unit and begins to keep its results.
        later: does a job once all results that are being kept are kept.
    """
    waiting, wait = dict(units), False
    while waiting:
        num_waiting = len(waiting)
        for name in list(waiting):
            claim = claims.claim(name, wait=wait)
            if claim is None:
                continue
            wait = False
            try:
                if not is_done(waiting[name]):
                    compute(waiting[name])
            except BaseException:
                claim.release()
                raise
            del waiting[name]
            later(claim.finish)
        wait = len(waiting) == num_waiting
