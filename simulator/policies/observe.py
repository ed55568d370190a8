"""What a settled round shows: to the policy that decides on cuts, and to the records."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from simulator.costs.block_price import observed_price
from simulator.costs.moving import MOVE_KINDS
from simulator.costs.step_prediction import step_of
from simulator.policies.observation import CutCosts, Observation
from simulator.protocols import local_loss, sfl_pipelined, u_shape
from simulator.protocols.phases import SPLIT_STEP, StepKinds
from simulator.protocols.rounds import ClientLog, RoundLog
from simulator.records.runs import ClientRow, RoundRow
from simulator.sections.protocol import RELAYED
from simulator.setting import Setting
from workloads.tasks import EvalResult, TrainResult

STEPS: Mapping[str, StepKinds] = {
    "local-loss": local_loss.STEP,
    "u-shape": u_shape.STEP,
    "sfl-pipelined": sfl_pipelined.STEP,
}
"""What a client's own step consists of, where that is not a plain split step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ahead:
    """What is known of a client's next round: see `Observation`."""

    draw: float
    costs: CutCosts


def unseen(setting: Setting, client: int, cut: int | None, ahead: Ahead) -> Observation:
    """Return what is known of a client of which nothing new has been seen: before its first round `cut` is None."""
    return Observation(
        client=client,
        device=setting.fleet.device(client).id,
        cut=cut,
        min_cut=setting.least_cut(client),
        max_cut=setting.max_cut(client),
        busy_s=None,
        step_s=None,
        client_block_s=None,
        server_block_s=None,
        performance=None,
        uplink_bytes_per_s=float(setting.fleet.uplink_bytes_per_s[client]),
        draw=ahead.draw,
        slots=setting.serving.slots,
        is_relayed=setting.scenario.protocol.kind in RELAYED,
        costs=ahead.costs,
    )


def observations(
    setting: Setting, log: RoundLog, validated: Mapping[int, EvalResult], ahead: Mapping[int, Ahead]
) -> list[Observation]:
    """Turn a round's log into what the server could have measured of those who finished."""
    latest = {c.plan.client: c for c in log.finished}.values()  # a client may have had several turns
    tokens = [sum(batch.num_padded_tokens for batch in c.plan.steps) / len(c.plan.steps) for c in latest]
    mean_tokens = sum(tokens) / len(tokens) if tokens else 0.0
    return [
        _observation(setting, c, mean_tokens / own, validated.get(c.plan.client), ahead[c.plan.client])
        for c, own in zip(latest, tokens, strict=True)
    ]


def client_row(
    setting: Setting,
    number: int,
    c: ClientLog,
    *,
    trained: Mapping[int, TrainResult],
    validated: Mapping[int, EvalResult],
) -> ClientRow:
    """Return the record of one client in a round."""
    client = c.plan.client
    result, check = trained.get(client), validated.get(client)
    return ClientRow(
        round=number,
        client=client,
        device=setting.fleet.device(client).id,
        network=setting.fleet.network(client).id,
        cut=c.plan.cut,
        priced_cut=setting.models.priced_cut(c.plan.cut),
        max_cut=setting.max_cut(client),
        cut_reason=c.plan.cut_reason,
        moved_bytes=sum(c.num_bytes.get(kind, 0) for kind in MOVE_KINDS),
        num_steps=c.num_steps,
        num_tokens=sum(batch.num_real_tokens for batch in c.plan.steps[: c.num_steps]),
        train_loss=None if result is None else sum(result.losses) / len(result.losses),
        val_loss=None if check is None else check.loss,
        start_s=c.start_s,
        end_s=c.end_s,
        status=c.status,
        staleness=c.staleness,
    )


def round_row(log: RoundLog) -> RoundRow:
    """Return the record of a round."""
    return RoundRow(
        round=log.round,
        start_s=log.start_s,
        end_s=log.end_s,
        num_clients=len({c.plan.client for c in log.clients}),
        up_bytes=_sent_bytes(log, "upload"),
        down_bytes=_sent_bytes(log, "download"),
        energy_j=_energy_j(log),
    )


def _energy_j(log: RoundLog) -> float | None:
    """Return what all devices have taken; None where that of any is not known, because a part of it is no total."""
    if log.sent_bytes is not None:
        return log.energy_j
    known = [c.energy_j for c in log.clients if c.energy_j is not None]
    return sum(known) if len(known) == len(log.clients) else None


def _observation(
    setting: Setting, c: ClientLog, scale: float, validated: EvalResult | None, ahead: Ahead
) -> Observation:
    client, cut = c.plan.client, c.plan.cut
    per_step = scale / len(c.plan.steps)
    kinds = STEPS.get(setting.scenario.protocol.kind, SPLIT_STEP)
    price = observed_price(c, step_of(setting.scenario.protocol, setting.costs), setting.shape.num_blocks, kinds.own)
    return dataclasses.replace(
        unseen(setting, client, cut, ahead),
        busy_s=sum(c.seconds[kind] for kind in kinds.own) * per_step,
        step_s=sum(c.seconds.get(kind, 0.0) for kind in kinds.elapsed) * per_step,
        client_block_s=price.on_client_s * per_step,
        server_block_s=price.on_server_s * per_step,
        performance=None if validated is None else validated.token_accuracy,
    )


def _sent_bytes(log: RoundLog, direction: str) -> int:
    of_clients = [c.num_bytes for c in log.clients] if log.sent_bytes is None else [log.sent_bytes]
    return sum(num_bytes for sent in of_clients for kind, num_bytes in sent.items() if kind.startswith(direction))
