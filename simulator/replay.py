"""A finished run priced on other machines: the plans and their results are the run's, only the clock runs again.

Training depends on who finished each round, with which cut, and on nothing else that a fleet, a network or a server
decides. So where the clock leads to the same plans, all that was learned holds, and every record is that of a fresh
run, to the byte. Where it leads to other plans, the first difference is told and nothing is priced.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from devices.problems import InputError, Problem, shown
from devices.strict_yaml import Document
from simulator.learning.tasks import Learning
from simulator.protocols.rounds import RoundLog
from simulator.records.runs import RunRecords
from simulator.resume import first_difference, recorded_origin
from simulator.scenario import Scenario, to_mapping
from workloads.results import Record, SavedState
from workloads.run_results import RunResults
from workloads.tasks import EvalResult, TrainResult

Finished = Mapping[int, Sequence[tuple[int, int]]]
"""Cut and steps of each client that finished a round; several of them where a client may finish several times."""

FRESH = "use `splitft run` with these settings instead"


def replayed_scenario(run: RunRecords, overrides: Sequence[str]) -> Scenario:
    """Return the scenario of a run with something changed.

    Raises:
        InputError: something cannot be changed so, or the run does not say where its inputs are.
    """
    assert run.folder is not None
    origin = recorded_origin(run.meta, run.folder)
    document = Document(dict(run.meta["scenario"]), str(run.folder / "run.json"), {})
    return Scenario.of(document, overrides, folder=origin.scenario_folder)


class RecordedResults:
    """What a finished run has learned, as a memory that is only read (`simulator.learning.remembering.Memory`)."""

    def __init__(self, folder: Path) -> None:
        self._results = RunResults(folder)

    def recall(self, key: str) -> Record | None:
        """Return what the run's task has reported."""
        return self._results.recall(key)

    def load(self, record: Record) -> SavedState | None:
        """Return the state that a task of the run has made, where it is kept."""
        return self._results.load(record)

    def note(self, record: Record, twin: Path | None = None) -> Path | None:  # noqa: ARG002 -- as a memory is asked
        """Return where the task's state is."""
        return self._results.note(record)  # which is of the run, and so is kept already

    def keep(self, record: Record, content: bytes | None, twin: Path | None = None) -> Path | None:  # noqa: ARG002
        """Keep nothing."""
        return None

    def release(self, live: Sequence[str]) -> None:
        """Forget nothing."""

    def close(self) -> None:
        """Do nothing."""


class ReplayedLearning:
    """Learning of a run whose plans have to be those of a finished one.

    Args:
        learning: answers from what the finished run has learned.
        run: the finished run.
    """

    def __init__(self, learning: Learning, run: RunRecords) -> None:
        self._learning, self._run = learning, run
        clients = run.clients[run.clients["status"] == "finished"]
        self._finished = {
            number: _of(clients[clients["round"] == number]) for number in clients["round"].unique().tolist()
        }

    def train(self, log: RoundLog) -> Mapping[int, TrainResult]:
        """Check that the round came out as it did, and return what was learned in it.

        Raises:
            InputError: it did not.
        """
        before = self._finished.get(log.round, {})
        now = _finished((c.plan.client, c.plan.cut, c.num_steps) for c in log.finished)
        if before != now:
            raise refusal(self._run, f"in round {log.round} {first_change(before, now)}")
        return self._learning.train(log)

    def validate(self, clients: Sequence[int]) -> Mapping[int, EvalResult]:
        """Return what clients measured."""
        return self._learning.validate(clients)

    def evaluate(self) -> EvalResult | None:
        """Return what was measured."""
        return self._learning.evaluate()

    def export(self, folder: Path) -> None:
        """Write the adapter."""
        self._learning.export(folder)


def refusal(run: RunRecords, why: str) -> InputError:
    """Return the error that says why a run cannot be replayed."""
    return InputError(
        Problem(f"this would be another run, not the same one at other prices: {why}; {FRESH}", str(run.folder))
    )


def unlearned(run: RunRecords, now: Scenario) -> InputError:
    """Return the error that says why something would have to be computed that the run has not."""
    before, after = dict(run.meta["scenario"]), to_mapping(now)
    kind = now.protocol.kind
    for section in LEARNING:
        if section == "fleet" and kind in ORDERED:  # for what comes before it is the same
            why = f"{kind} learns in the order in which clients meet the server: either they meet it in another one now"
            return refusal(run, f"{why}, or what the run has learned is no longer there")
        difference = first_difference(before.get(section), after.get(section), section)
        if difference is not None:
            was, is_ = shown(difference.before), shown(difference.now)
            return refusal(run, f"{difference.key} was {was} and is {is_}, and so something would have to be learned")
    return refusal(run, "something would have to be learned that it has not kept")


LEARNING = ("workload", "seed", "protocol", "evaluation", "rounds", "stop_at_s", "fleet", "policy", "selection")
"""Sections of a scenario by which what is learned may differ, those first that most often do."""


ORDERED = ("sfl-v2", "fedbuff")
"""Protocols by which what is learned depends on who comes first, as well as on who finishes with which cut."""


def first_change(before: Finished, now: Finished) -> str:
    """Return in words the first client that finished a round otherwise."""
    client = min(client for client in {**before, **now} if before.get(client) != now.get(client))
    if client not in now:
        return f"client {client} does not finish, and did"
    if client not in before:
        return f"client {client} finishes, and did not"
    if len(before[client]) != len(now[client]):
        return f"client {client} finishes {len(now[client])} times, and did {len(before[client])} times"
    pairs = zip(before[client], now[client], strict=True)
    (old_cut, old_steps), (cut, steps) = next((old, new) for old, new in pairs if old != new)
    if old_cut != cut:
        return f"client {client} has cut {cut}, and had {old_cut}"
    return f"client {client} takes {steps} steps, and took {old_steps}"


def _of(rows: pd.DataFrame) -> Finished:
    return _finished(zip(*(rows[name].astype(int) for name in ("client", "cut", "num_steps")), strict=True))


def _finished(turns: Iterable[tuple[int, int, int]]) -> Finished:
    found: dict[int, list[tuple[int, int]]] = {}
    for client, cut, num_steps in turns:
        found.setdefault(client, []).append((cut, num_steps))
    return found
