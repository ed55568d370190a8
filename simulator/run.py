"""One run: rounds on the simulated clock, each followed by its mathematics, its measurements and the next cuts."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from devices.problems import InputError, Problem
from simulator.clock.collector import paused
from simulator.clock.world import World
from simulator.costs.moving import Holdings
from simulator.learning.base_deltas import BaseDeltas
from simulator.learning.losses import mean_train_loss, perplexity
from simulator.learning.tasks import Learning
from simulator.participation.availability import Availability
from simulator.participation.choosing import Choosing
from simulator.policies.deciding import Cuts
from simulator.policies.foresight import Foresight
from simulator.policies.observe import client_row, round_row
from simulator.protocols import fed_lora, local_loss, sfl_pipelined, sfl_v1, sfl_v2, sl, u_shape
from simulator.protocols.fedbuff import FedBuff
from simulator.protocols.rounds import ClientPlan, CutMove, PaddedBatch, RoundLog, Terms
from simulator.records.recorder import RunWriter
from simulator.records.runs import SERVER_CLIENT, EvalRow
from simulator.sections.protocol import Protocol
from simulator.setting import Setting
from workloads.tasks import RULES_WITH_SHARED_SERVER, EvalResult, TrainResult

RunRound = Callable[[World, int, Sequence[ClientPlan], Terms], RoundLog]
"""Runs one round on the clock."""

PROTOCOLS: Mapping[str, RunRound] = {
    "sl": sl.run_round,
    "sfl-v1": sfl_v1.run_round,
    "sfl-v2": sfl_v2.run_round,
    "local-loss": local_loss.run_round,
    "u-shape": u_shape.run_round,
    "fed-lora": fed_lora.run_round,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run is, for whoever shows it.

    Attributes:
        round, num_rounds: rounds finished and asked for.
        clock_s: simulated seconds.
        train_loss: mean loss of the round's training; None where nobody learned.
        perplexity: the latest held-out perplexity; None where nothing is learned.
        evaluated_round: the round after which that was measured.
    """

    round: int
    num_rounds: int
    clock_s: float
    train_loss: float | None
    perplexity: float | None
    evaluated_round: int


def simulate(
    setting: Setting, learning: Learning, writer: RunWriter, on_progress: Callable[[Progress], None]
) -> str | None:
    """Run the rounds of a scenario and write what happens into `writer`.

    Returns:
        Why the run ended before its last round, where nobody could be reached any more; else None.

    Raises:
        InputError: not even the first round can start.
    """
    return Simulation(setting, learning, writer, on_progress).run()


class Simulation:
    """The state of a run between rounds: the world and the clients' cuts."""

    def __init__(
        self, setting: Setting, learning: Learning, writer: RunWriter, on_progress: Callable[[Progress], None]
    ) -> None:
        self._setting, self._learning, self._writer, self._on_progress = setting, learning, writer, on_progress
        self._scenario = setting.scenario
        self._world = World(
            fleet=setting.fleet,
            server_links=setting.server_links,
            slots=setting.serving.slots,
            costs=setting.costs,
            spans=writer.spans,
            outages_s=setting.availability.outages_s,
            connections=setting.connections,
            discipline=setting.serving.discipline,
            pace=setting.variation.pace(setting.scenario.seed.fleet),
            powers=setting.powers,
        )
        absent = setting.fit.absent(setting.fleet)
        self._availability = Availability(setting.availability, len(setting.fleet), setting.scenario.seed.fleet, absent)
        moves = self._scenario.moves
        self._holdings = Holdings(
            ships_weights=moves.weights == "shipped",
            ships_moments=moves.moments == "shipped"
            and setting.keeps_moments
            and self._scenario.protocol.kind not in RULES_WITH_SHARED_SERVER,  # there they start afresh
        )
        self._buffer: FedBuff | None = None
        self._run_round = self._protocol(self._scenario.protocol)
        self._cuts = Cuts(setting, Foresight(setting, self._world), self._next)
        self._choosing = Choosing(setting)
        self._cohort: frozenset[int] = frozenset()  # and each client's number of turns, where there is a buffer
        self._num_turns: dict[int, int] = {}
        self._deltas = BaseDeltas(setting.models.priced_cut)
        self._evaluated = -1  # the last round after which the global model was measured
        self._train_loss: float | None = None
        self._perplexity: float | None = None

    def run(self) -> str | None:
        """Run all rounds, or those that start before `stop_at_s`, or while clients can be reached."""
        scenario = self._scenario
        stop_at_s = math.inf if scenario.stop_at_s is None else scenario.stop_at_s
        for number in range(1, scenario.rounds + 1):
            start_s = self._availability.next_start_s(self._world.env.now, number, scenario.selection.min_clients)
            if start_s >= stop_at_s:
                return self._end_early(number, start_s)
            if number == 1:
                self._evaluate(0)
            self._world.wait_until(start_s)
            log = self._round(number)
            if number % scenario.evaluation.every == 0 or number == scenario.rounds:
                self._evaluate(number)
            self._report(log)
        self._record_unfinished(scenario.rounds)
        return None

    def _end_early(self, number: int, start_s: float) -> str | None:
        """Measure what there is; return why a round cannot start, unless that is as the scenario wants it."""
        needed, after = self._scenario.selection.min_clients, f"after {self._world.env.now:.6g} simulated seconds"
        gone = f"round {number} could not start: {after} there are never {needed:,} client(s) that can be reached"
        if number == 1:
            late = f"round 1 could not start before stop_at_s ({self._scenario.stop_at_s}): nobody can be reached"
            raise InputError(Problem(late if math.isfinite(start_s) else gone, key="availability"))
        self._record_unfinished(number - 1)
        if self._evaluated < number - 1:
            self._evaluate(number - 1)
        return None if self._scenario.stop_at_s is not None else gone

    def _round(self, number: int) -> RoundLog:
        """Run one round on the clock, then its mathematics; record it, and decide on cuts where that is due."""
        with paused():
            plans, terms = self._plans(number)
            log = self._run_round(self._world, number, plans, terms)
        self._deltas.settle(log, self._setting.costs.stacked_ranks([c.plan.cut for c in log.finished]))
        if self._buffer is None:  # else it has been told of each turn
            for c in log.clients:
                self._holdings.settle(c)
        trained = self._learning.train(log)
        self._train_loss = mean_train_loss(trained)
        measured = dict.fromkeys(c.plan.client for c in log.finished if c.plan.validation)
        validated = self._learning.validate(list(measured))
        with paused():
            self._record(log, trained, validated)
        self._cuts.after_round(log, validated)
        self._choosing.remember(log, trained)
        return log

    def _record(self, log: RoundLog, trained: Mapping[int, TrainResult], validated: Mapping[int, EvalResult]) -> None:
        for c in log.clients:
            self._writer.add_client(client_row(self._setting, log.round, c, trained=trained, validated=validated))
        self._writer.end_round(round_row(log))

    def _record_unfinished(self, number: int) -> None:
        """Record, with the last round, what clients are at work on that take turns in their own time."""
        for c in [] if self._buffer is None else self._buffer.unfinished():
            self._writer.add_client(client_row(self._setting, number, c, trained={}, validated={}))

    def _plans(self, number: int) -> tuple[list[ClientPlan], Terms]:
        """Return what everybody does who takes part in a round, and what the round waits for."""
        setting, cohort = self._setting, self._choosing.cohort(number, self._availability.reachable())
        clients: list[int] = cohort.clients.tolist()
        if self._buffer is not None:
            return self._turns(number, clients), cohort.terms
        self._cuts.before_round(number, clients)
        leaves_s = self._availability.leaves_s(cohort.clients).tolist()
        fails_frac = self._availability.failures(cohort.clients, number)
        plans = [
            ClientPlan(
                client=client,
                cut=self._cuts.now[client],
                cut_reason=self._cuts.reasons[client],
                steps=setting.data.padded_steps(client, number),
                validation=self._validation(client, number),
                stacked=self._deltas.missing(client, self._cuts.now[client]),
                move=self._holdings.move(client, self._cuts.now[client]),
                leaves_s=leaves_s[place],
                fails_frac=fails_frac[place],
            )
            for place, client in enumerate(clients)
        ]
        return plans, cohort.terms

    def _turns(self, number: int, cohort: Sequence[int]) -> list[ClientPlan]:
        """Return what those of a cohort do who are not at work, where clients take turns in their own time.

        Cuts are decided for the whole cohort: those at work will have them in their next turn.
        """
        assert self._buffer is not None
        self._cohort = frozenset(cohort)
        self._cuts.before_round(number, cohort)
        clients = [client for client in cohort if client not in self._buffer.busy]
        leaves_s = self._availability.leaves_s(np.array(clients, dtype=np.int64)).tolist()
        moves = [self._holdings.move(client, self._cuts.now[client]) for client in clients]
        return [self._turn(*turn) for turn in zip(clients, leaves_s, moves, strict=True)]

    def _turn(self, client: int, leaves_s: float, move: CutMove | None) -> ClientPlan:
        """Return a client's next turn; its own count of turns decides on its samples and on whether it fails."""
        turn = self._num_turns[client] = self._num_turns.get(client, 0) + 1
        return ClientPlan(
            client=client,
            cut=self._cuts.now[client],
            cut_reason=self._cuts.reasons[client],
            steps=self._setting.data.padded_steps(client, turn),
            validation=self._validation(client, turn),
            turn=turn,
            move=move,
            leaves_s=leaves_s,
            fails_frac=self._availability.failures(np.array([client]), turn)[0],
        )

    def _validation(self, client: int, number: int) -> tuple[PaddedBatch, ...]:
        """Return what a client measures itself on in a round, or in a turn, of this number; mostly nothing."""
        setting = self._setting
        is_due = setting.policy_reads_performance and number % setting.decide_every == 0
        return setting.data.padded_validation(client) if is_due else ()

    def _next(self, client: int, number: int) -> int:
        """Return which of its rounds a client has not begun yet: that of this number, or the next of its own turns."""
        return number if self._buffer is None else self._num_turns.get(client, 0) + 1

    def _again(self, before: ClientPlan) -> ClientPlan | None:
        """Return what a client does that has handed in and need not wait; None where it rests."""
        client = before.client
        if client not in self._cohort or before.leaves_s <= self._world.env.now:
            return None
        return self._turn(client, before.leaves_s, self._holdings.move(client, self._cuts.now[client]))

    def _protocol(self, section: Protocol) -> RunRound:
        """Return how a round is run; make the buffer, where clients take turns in their own time."""
        match section.kind:
            case "fedbuff":
                self._buffer = FedBuff(
                    buffer_size=section.buffer_size,
                    max_staleness=section.max_staleness,
                    again=self._again,
                    on_end=self._holdings.settle,
                )
                return self._buffer.run_round
            case "sfl-pipelined":
                return partial(sfl_pipelined.run_round, num_parts=section.micro_batches)
            case _:
                return PROTOCOLS[section.kind]

    def _evaluate(self, number: int) -> None:
        self._evaluated = number
        result = self._learning.evaluate()
        if result is None:
            return
        self._perplexity = perplexity(result.loss)
        self._writer.add_eval(
            EvalRow(
                round=number,
                time_s=self._world.env.now,
                scope="global",
                client=SERVER_CLIENT,
                loss=result.loss,
                perplexity=self._perplexity,
                token_accuracy=result.token_accuracy,
                num_tokens=result.num_tokens,
            )
        )

    def _report(self, log: RoundLog) -> None:
        self._on_progress(
            Progress(
                round=log.round,
                num_rounds=self._scenario.rounds,
                clock_s=self._world.env.now,
                train_loss=self._train_loss,
                perplexity=self._perplexity,
                evaluated_round=self._evaluated,
            )
        )
