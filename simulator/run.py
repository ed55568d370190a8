"""One run: rounds on the simulated clock, each followed by its mathematics, its measurements and the next cuts."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from devices.problems import InputError, Problem
from simulator.availability import Availability
from simulator.base_deltas import BaseDeltas
from simulator.choosing import Choosing
from simulator.collector import paused
from simulator.deciding import Cuts
from simulator.foresight import Foresight
from simulator.learning import Learning
from simulator.losses import mean_train_loss, perplexity
from simulator.moving import Holdings
from simulator.observe import client_row, round_row
from simulator.protocols import sfl_v1
from simulator.protocols.rounds import ClientPlan, RoundLog, Terms
from simulator.recorder import RunWriter
from simulator.records import SERVER_CLIENT, EvalRow
from simulator.setting import Setting
from simulator.world import World
from workloads.tasks import EvalResult, TrainResult

PROTOCOLS = {"sfl-v1": sfl_v1.run_round}


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
            slots=setting.scenario.server.slots,
            costs=setting.costs,
            spans=writer.spans,
            outages_s=setting.availability.outages_s,
            connections=setting.connections,
            discipline=setting.scenario.server.discipline,
            pace=setting.variation.pace(setting.scenario.seed.fleet),
            powers=setting.powers,
        )
        absent = setting.fit.absent(setting.fleet)
        self._availability = Availability(setting.availability, len(setting.fleet), setting.scenario.seed.fleet, absent)
        self._cuts = Cuts(setting, Foresight(setting, self._world))
        self._choosing = Choosing(setting)
        self._deltas = BaseDeltas(setting.models.priced_cut)
        moves = self._scenario.moves
        self._holdings = Holdings(
            ships_weights=moves.weights == "shipped",
            ships_moments=moves.moments == "shipped" and setting.keeps_moments,
        )
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
        return None

    def _end_early(self, number: int, start_s: float) -> str | None:
        """Measure what there is; return why a round cannot start, unless that is as the scenario wants it."""
        needed, after = self._scenario.selection.min_clients, f"after {self._world.env.now:.6g} simulated seconds"
        gone = f"round {number} could not start: {after} there are never {needed:,} client(s) that can be reached"
        if number == 1:
            late = f"round 1 could not start before stop_at_s ({self._scenario.stop_at_s}): nobody can be reached"
            raise InputError(Problem(late if math.isfinite(start_s) else gone, key="availability"))
        if self._evaluated < number - 1:
            self._evaluate(number - 1)
        return None if self._scenario.stop_at_s is not None else gone

    def _round(self, number: int) -> RoundLog:
        """Run one round on the clock, then its mathematics; record it, and decide on cuts where that is due."""
        with paused():
            plans, terms = self._plans(number)
            log = PROTOCOLS[self._scenario.protocol.kind](self._world, number, plans, terms)
        self._deltas.settle(log, self._setting.costs.stacked_ranks([c.plan.cut for c in log.finished]))
        self._holdings.settle(log)
        trained = self._learning.train(log)
        self._train_loss = mean_train_loss(trained)
        validated = self._learning.validate([c.plan.client for c in log.finished if c.plan.validation])
        with paused():
            self._record(log, trained, validated)
        self._cuts.after_round(log, validated)
        self._choosing.remember(log, trained)
        return log

    def _record(self, log: RoundLog, trained: Mapping[int, TrainResult], validated: Mapping[int, EvalResult]) -> None:
        for c in log.clients:
            reason = self._cuts.reasons[c.plan.client]
            row = client_row(self._setting, log.round, c, reason, trained=trained, validated=validated)
            self._writer.add_client(row)
        self._writer.end_round(round_row(log))

    def _plans(self, number: int) -> tuple[list[ClientPlan], Terms]:
        """Return what everybody does who takes part in a round, and what the round waits for."""
        setting, cohort = self._setting, self._choosing.cohort(number, self._availability.reachable())
        clients: list[int] = cohort.clients.tolist()
        self._cuts.before_round(number, clients)
        leaves_s = self._availability.leaves_s(cohort.clients).tolist()
        fails_frac = self._availability.failures(cohort.clients, number)
        validates = setting.policy_reads_performance and number % setting.decide_every == 0
        plans = [
            ClientPlan(
                client=client,
                cut=self._cuts.now[client],
                steps=setting.data.padded_steps(client, number),
                validation=setting.data.padded_validation(client) if validates else (),
                stacked=self._deltas.missing(client, self._cuts.now[client]),
                move=self._holdings.move(client, self._cuts.now[client]),
                leaves_s=leaves_s[place],
                fails_frac=fails_frac[place],
            )
            for place, client in enumerate(clients)
        ]
        return plans, cohort.terms

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
