"""Where the time went, as protocols write it down: every span, sums of a round, or nothing.

What is written changes no time: the same events happen in the same order.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from simulator.records.parquet_files import Save, checked_table
from simulator.records.schemas import NO_CAUSE, SPANS_SCHEMA, TOTALS_SCHEMA, canonical_bytes


class SpanLog(Protocol):
    """Collects what protocols write down, and keeps it as one table a round.

    Attributes:
        names: of the tables kept so far.
    """

    names: list[str]

    def add(  # noqa: PLR0917 - called positionally, for speed
        self,
        kind: str,
        actor: str,
        client: int,
        round: int,  # noqa: A002 - the column's name
        step: int,
        start_s: float,
        end_s: float,
        num_bytes: int = 0,
        cause_id: int = NO_CAUSE,
        energy_j: float | None = None,
    ) -> int:
        """Record one `SpanRow` and return its id, or `NO_CAUSE` where single spans are not kept.

        Values are checked by `flush_round`: this runs millions of times.
        """

    def flush_round(self, number: int) -> None:
        """Keep what was added since the last flush as the table of a round, and free the log.

        Raises:
            ValueError: a span is not valid (bad name, time or size), or the round does not follow the last one flushed.
        """

    @property
    def sha256(self) -> str:
        """Digest of everything kept: the same in memory, in a folder, and for any flushing.

        Raises:
            RuntimeError: spans were added after the last flush; they would be lost.
        """


class _Kept:
    """Tables by round, and their digest."""

    def __init__(self, save: Save) -> None:
        self._save = save
        self._last_round = -1
        self._digest = hashlib.sha256()
        self.names: list[str] = []

    def _keep(self, number: int, folder: str, schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> None:
        if number <= self._last_round:
            raise ValueError(f"round {number} cannot be stored after round {self._last_round}")
        table, name = checked_table(schema, rows), f"{folder}/round-{number:06d}"
        self._save(name, table)
        self.names.append(name)
        self._digest.update(canonical_bytes(table))
        self._last_round = number

    def _sha256(self, num_left: int) -> str:
        if num_left:
            raise RuntimeError(f"{num_left} spans were added after the last round was flushed")
        return self._digest.hexdigest()


class EverySpan(_Kept):
    """Keeps each span (`SpanRow`)."""

    def __init__(self, save: Save) -> None:
        super().__init__(save)
        self._rows: list[tuple[Any, ...]] = []
        self._num_spans = 0

    def add(  # noqa: D102, PLR0917 - see SpanLog
        self,
        kind: str,
        actor: str,
        client: int,
        round: int,  # noqa: A002
        step: int,
        start_s: float,
        end_s: float,
        num_bytes: int = 0,
        cause_id: int = NO_CAUSE,
        energy_j: float | None = None,
    ) -> int:
        span_id = self._num_spans
        self._num_spans = span_id + 1
        self._rows.append((span_id, cause_id, kind, actor, client, round, step, start_s, end_s, num_bytes, energy_j))
        return span_id

    def flush_round(self, number: int) -> None:  # noqa: D102 - see SpanLog
        self._keep(number, "spans", SPANS_SCHEMA, self._rows)
        self._rows = []

    @property
    def sha256(self) -> str:  # noqa: D102 - see SpanLog
        return self._sha256(len(self._rows))


class RoundTotals(_Kept):
    """Keeps sums of spans by round, client, kind and actor (`TotalRow`), in the order of their first spans."""

    def __init__(self, save: Save) -> None:
        super().__init__(save)
        self._totals: dict[tuple[int, int, str, str], list[Any]] = {}

    def add(  # noqa: D102, PLR0917 - see SpanLog
        self,
        kind: str,
        actor: str,
        client: int,
        round: int,  # noqa: A002
        step: int,  # noqa: ARG002 - steps are what is summed over
        start_s: float,
        end_s: float,
        num_bytes: int = 0,
        cause_id: int = NO_CAUSE,  # noqa: ARG002 - sums have no cause
        energy_j: float | None = None,
    ) -> int:
        key = (round, client, kind, actor)
        total = self._totals.get(key)
        if total is None:
            self._totals[key] = [1, end_s - start_s, end_s, num_bytes, energy_j]
        else:
            total[0] += 1
            total[1] += end_s - start_s
            total[2] = end_s
            total[3] += num_bytes
            total[4] = None if total[4] is None or energy_j is None else total[4] + energy_j
        return NO_CAUSE

    def flush_round(self, number: int) -> None:  # noqa: D102 - see SpanLog
        rows = [(*key, *total) for key, total in self._totals.items()]
        self._keep(number, "totals", TOTALS_SCHEMA, rows)
        self._totals = {}

    @property
    def sha256(self) -> str:  # noqa: D102 - see SpanLog
        return self._sha256(sum(total[0] for total in self._totals.values()))


class NoSpans:
    """Keeps nothing: the tables of rounds and clients have to do."""

    def __init__(self, save: Save) -> None:  # noqa: ARG002 - nothing to save
        self.names: list[str] = []

    def add(self, *span: object, **rest: object) -> int:  # noqa: ARG002, D102 - see SpanLog
        return NO_CAUSE

    def flush_round(self, number: int) -> None:  # noqa: D102 - see SpanLog
        pass

    @property
    def sha256(self) -> str:  # noqa: D102 - see SpanLog
        return hashlib.sha256().hexdigest()


SPAN_LOGS: Mapping[str, Callable[[Save], SpanLog]] = {"steps": EverySpan, "rounds": RoundTotals, "none": NoSpans}
"""By `execution.spans`."""
