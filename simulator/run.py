"""One run: rounds on the simulated clock, each followed by its mathematics, its measurements and the next cuts."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from simulator.learning import Learning
from simulator.policies.fixed import fixed, per_device
from simulator.policies.observation import Decision, Observation
from simulator.policies.splitft import splitft
from simulator.protocols import sfl_v1
from simulator.protocols.rounds import ClientLog, ClientPlan, RoundLog
from simulator.recorder import RunWriter
from simulator.records import SERVER_CLIENT, ClientRow, EvalRow, RoundRow
from simulator.setting import Setting
from simulator.world import World
from workloads.tasks import EvalResult, TrainResult

PROTOCOLS = {"sfl-v1": sfl_v1.run_round}
POLICIES: Mapping[str, Callable[..., Decision]] = {"fixed": fixed, "per-device": per_device, "splitft": splitft}


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run is, for whoever shows it.

    Attributes:
        round, num_rounds: rounds finished and asked for.
        clock_s: simulated seconds.
        perplexity: the latest held-out perplexity; None where nothing is learned.
    """

    round: int
    num_rounds: int
    clock_s: float
    perplexity: float | None


def simulate(setting: Setting, learning: Learning, writer: RunWriter, on_progress: Callable[[Progress], None]) -> None:
    """Run the rounds of a scenario and write what happens into `writer`."""
    Simulation(setting, learning, writer, on_progress).run()


class Simulation:
    """The state of a run between rounds: the world, the clients' cuts and what the policy remembers."""

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
        )
        self._policy = POLICIES[self._scenario.policy.kind]
        self._memory: Mapping[int, float] = {}
        self._perplexity: float | None = None

    def run(self) -> None:
        """Run all rounds, or those that start before `stop_at_s`."""
        scenario = self._scenario
        cohort = range(len(self._setting.fleet))
        self._evaluate(0)
        decision = self._decide([self._first_observation(client) for client in cohort])
        for number in range(1, scenario.rounds + 1):
            log = PROTOCOLS[scenario.protocol.kind](self._world, number, self._plans(number, cohort, decision.cuts))
            trained = self._learning.train(log)
            validated = self._learning.validate([c.plan.client for c in log.clients if c.plan.validation])
            self._record(log, decision, trained, validated)
            if number % scenario.evaluation.every == 0 or number == scenario.rounds:
                self._evaluate(number)
            self._report(number)
            if scenario.stop_at_s is not None and self._world.env.now >= scenario.stop_at_s:
                break
            if number % self._setting.decide_every == 0:
                decision = self._decide(self._observations(log, validated))

    def _plans(self, number: int, cohort: Sequence[int], cuts: Mapping[int, int]) -> list[ClientPlan]:
        data = self._setting.data
        validates = self._setting.policy_reads_performance and number % self._setting.decide_every == 0
        return [
            ClientPlan(
                client=client,
                cut=cuts[client],
                steps=data.padded_steps(client, number),
                validation=data.padded_validation(client) if validates else (),
            )
            for client in cohort
        ]

    def _decide(self, observations: Sequence[Observation]) -> Decision:
        decision = self._policy(observations, self._memory, self._scenario.policy)
        self._memory = decision.memory
        return decision

    def _first_observation(self, client: int) -> Observation:
        return Observation(
            client=client,
            device=self._setting.fleet.device(client).id,
            cut=None,
            min_cut=self._setting.min_cut,
            max_cut=self._setting.max_cut(client),
            busy_s=None,
            client_block_s=None,
            server_block_s=None,
            performance=None,
        )

    def _observations(self, log: RoundLog, validated: Mapping[int, EvalResult]) -> list[Observation]:
        """Turn a round's log into what the server could have measured of it."""
        tokens = [sum(batch.num_padded_tokens for batch in c.plan.steps) / len(c.plan.steps) for c in log.clients]
        mean_tokens = sum(tokens) / len(tokens)
        return [
            self._observation(c, mean_tokens / own, validated.get(c.plan.client))
            for c, own in zip(log.clients, tokens, strict=True)
        ]

    def _observation(self, c: ClientLog, scale: float, validated: EvalResult | None) -> Observation:
        client, cut = c.plan.client, c.plan.cut
        per_step = scale / len(c.plan.steps)
        on_client_s = c.seconds["client_forward"] + c.seconds["client_backward"]
        busy_s = sum(c.seconds[kind] for kind in sfl_v1.STEP_KINDS)
        return Observation(
            client=client,
            device=self._setting.fleet.device(client).id,
            cut=cut,
            min_cut=self._setting.min_cut,
            max_cut=self._setting.max_cut(client),
            busy_s=busy_s * per_step,
            client_block_s=on_client_s * per_step / cut,
            server_block_s=c.seconds["server_step"] * per_step / (self._setting.shape.num_blocks - cut),
            performance=None if validated is None else validated.token_accuracy,
        )

    def _record(
        self,
        log: RoundLog,
        decision: Decision,
        trained: Mapping[int, TrainResult],
        validated: Mapping[int, EvalResult],
    ) -> None:
        for c in log.clients:
            self._writer.add_client(self._client_row(log.round, c, decision, trained, validated))
        up, down = (sum(_bytes(c, direction) for c in log.clients) for direction in ("upload", "download"))
        self._writer.end_round(
            RoundRow(
                round=log.round,
                start_s=log.start_s,
                end_s=log.end_s,
                num_clients=len(log.clients),
                up_bytes=up,
                down_bytes=down,
                energy_j=None,
            )
        )

    def _client_row(
        self,
        number: int,
        c: ClientLog,
        decision: Decision,
        trained: Mapping[int, TrainResult],
        validated: Mapping[int, EvalResult],
    ) -> ClientRow:
        client = c.plan.client
        result, check = trained.get(client), validated.get(client)
        return ClientRow(
            round=number,
            client=client,
            device=self._setting.fleet.device(client).id,
            network=self._setting.fleet.network(client).id,
            cut=c.plan.cut,
            priced_cut=c.plan.cut,
            max_cut=self._setting.max_cut(client),
            cut_reason=decision.reasons[client],
            num_steps=len(c.plan.steps),
            num_tokens=sum(batch.num_real_tokens for batch in c.plan.steps),
            train_loss=None if result is None else sum(result.losses) / len(result.losses),
            val_loss=None if check is None else check.loss,
            start_s=c.start_s,
            end_s=c.end_s,
            status=c.status,
        )

    def _evaluate(self, number: int) -> None:
        result = self._learning.evaluate()
        if result is None:
            return
        self._perplexity = math.exp(result.loss)
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

    def _report(self, number: int) -> None:
        self._on_progress(
            Progress(
                round=number,
                num_rounds=self._scenario.rounds,
                clock_s=self._world.env.now,
                perplexity=self._perplexity,
            )
        )


def _bytes(c: ClientLog, direction: str) -> int:
    return sum(num_bytes for kind, num_bytes in c.num_bytes.items() if kind.startswith(direction))
