"""What one block costs on either side of the cut, as a settled round shows it.

A part's time is not proportional to its blocks: the server's holds the LM head and both sides code what passes the cut,
whatever the cut is, and a client's lowest block needs no gradient at its input. The share that one block has of the
part is therefore taken from the cost model, and the seconds from what was observed: where nothing else is at work, the
price is what the cost model asks for a further block; where a device is slower than its profile says, so is its block.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass

from simulator.costs.cost import StepCosts
from simulator.costs.local_steps import LocalStepCosts
from simulator.costs.u_shape_steps import UShapeStepCosts
from simulator.protocols.rounds import ClientLog, PaddedBatch

ON_CLIENT = ("client_forward", "client_backward", "client_optimizer")
ON_SERVER = ("server_step", "server_forward", "server_backward")

AnyStepCosts = StepCosts | LocalStepCosts | UShapeStepCosts


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockPrice:
    """Seconds of one block in all steps of a round: on the client, and on the server."""

    on_client_s: float
    on_server_s: float


StepOf = Callable[[int, int, int, int], AnyStepCosts]
"""What a step of the protocol costs, by client, cut, batch size and length, such as `Costs.step`."""


def observed_price(c: ClientLog, step_of: StepOf, num_blocks: int, own_kinds: Container[str]) -> BlockPrice:
    """Return what one block took on a client's own path through its round.

    Args:
        c: the round of a client that has finished it.
        step_of: what a step costs, by cut.
        num_blocks: of the model in which cuts are counted.
        own_kinds: kinds of spans on its path: what the server does beside it costs the client nothing.
    """
    shares = [_shares(step_of, c.plan.client, c.plan.cut, batch, num_blocks) for batch in c.plan.steps]
    whole = [step_of(c.plan.client, c.plan.cut, batch.num_samples, batch.length_tokens) for batch in c.plan.steps]
    client_share = sum(share.on_client_s for share in shares) / sum(map(_on_client_s, whole))
    server_share = sum(share.on_server_s for share in shares) / sum(step.server_step_s for step in whole)
    return BlockPrice(
        on_client_s=client_share * sum(c.seconds[kind] for kind in ON_CLIENT),
        on_server_s=server_share * sum(c.seconds.get(kind, 0.0) for kind in ON_SERVER if kind in own_kinds),
    )


def _shares(step_of: StepOf, client: int, cut: int, batch: PaddedBatch, num_blocks: int) -> BlockPrice:
    """Return what one block is charged in one step: the mean over all cuts, since blocks may differ."""

    def step(at_cut: int) -> AnyStepCosts:
        return step_of(client, at_cut, batch.num_samples, batch.length_tokens)

    deepest = num_blocks - 1
    if deepest == 1:  # the only cut there is: nothing to compare with, and nowhere to move
        return BlockPrice(on_client_s=_on_client_s(step(cut)), on_server_s=step(cut).server_step_s)
    low, high = step(1), step(deepest)
    return BlockPrice(
        on_client_s=(_on_client_s(high) - _on_client_s(low)) / (deepest - 1),
        on_server_s=(low.server_step_s - high.server_step_s) / (deepest - 1),
    )


def _on_client_s(step: AnyStepCosts) -> float:
    return step.client_forward_s + step.client_backward_s + step.client_optimizer_s
