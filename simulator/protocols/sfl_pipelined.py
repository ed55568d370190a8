"""SplitFed V1 in micro-batches (GPipe, arXiv 1811.06965) with PipeSFL's priorities (doi 10.1109/TMC.2024.3489642).

A batch goes through the step in parts, so that the client computes while parts of it are under way or at the server:
first all forward passes, then the backward passes as gradients arrive. The gradients of the parts add up, and each
optimizer steps once a batch: what is learned is V1's. At the server the client with the largest remaining lag, the time
that it would still need for its round alone, goes first.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import simpy

from simulator.clock.alone import path_s, played_s
from simulator.clock.lane import Lane
from simulator.clock.world import Participant, Steps, World
from simulator.costs.cost import StepCosts
from simulator.protocols.barrier import synchronous_round
from simulator.protocols.phases import SPLIT_STEP, StepKinds, fetch, hand_in, measure, split_step
from simulator.protocols.rounds import FOR_EVERYBODY, ClientPlan, RoundLog, Terms

STEP = StepKinds(own=SPLIT_STEP.own, elapsed=("client_forward", "overlap_wait", "client_backward", "client_optimizer"))
"""What a step consists of: on its own path nothing is taken to overlap; what passes is its own work and its waits."""


def micro_batches(num_samples: int, num_parts: int) -> list[int]:
    """Return how many samples each part of a batch has: as even as can be, the larger ones first, none without any."""
    num_parts = min(num_parts, num_samples)
    return [num_samples // num_parts + (part < num_samples % num_parts) for part in range(num_parts)]


class Part:
    """One micro-batch on its way through a step.

    Attributes:
        costs: of a step on it.
        forwarded, uploaded, served, downloaded: when it has come so far; their values are the spans that led to it.
    """

    def __init__(self, env: simpy.Environment, costs: StepCosts) -> None:
        self.costs = costs
        self.forwarded, self.uploaded, self.served, self.downloaded = (env.event() for _ in range(4))


def client_round(me: Participant, plan: ClientPlan, num_parts: int) -> Steps:
    """Take one client through a round: fetch the adapter, train step by step in micro-batches, hand the adapter in."""
    world = me.world
    yield from fetch(me, plan)
    for me.step, batch in enumerate(plan.steps, start=1):
        sizes = micro_batches(batch.num_samples, num_parts)
        costs = [world.costs.step(plan.client, plan.cut, size, batch.length_tokens) for size in sizes]
        parts = [Part(world.env, of_part) for of_part in costs]
        lag_s = path_s(world, me.round, replace(plan, steps=plan.steps[me.step - 1 :]), after_server)
        for go in (upload, partial(serve, lag_s=lag_s), download):
            lane = Lane.of(me)
            lane.begin(go(lane, parts))
        for part in parts:
            yield from me.compute("client_forward", part.costs.client_forward_s)
            part.forwarded.succeed(me.last_span)
        for part in parts:
            yield from me.wait_for("overlap_wait", part.downloaded)
            yield from me.compute("client_backward", part.costs.client_backward_s)
        yield from me.compute("client_optimizer", costs[-1].client_optimizer_s)
        me.num_steps += 1
    yield from measure(me, plan)
    yield from hand_in(me, plan)


def upload(lane: Lane, parts: Sequence[Part]) -> Steps:
    """Send each part up as soon as it has been computed and the one before it is there."""
    for part in parts:
        yield from lane.after(part.forwarded)
        costs = part.costs
        yield from lane.upload(("upload_activations", costs.activation_bytes), ("upload_labels", costs.label_bytes))
        part.uploaded.succeed(lane.last_span)


def serve(lane: Lane, parts: Sequence[Part], lag_s: float) -> Steps:
    """Let the server go through each part once it is there; after the last one its optimizer steps."""
    for part in parts:
        yield from lane.after(part.uploaded)
        seconds = part.costs.server_step_s - (0.0 if part is parts[-1] else part.costs.server_optimizer_s)
        yield from lane.serve("server_step", seconds, priority=lag_s)
        part.served.succeed(lane.last_span)


def download(lane: Lane, parts: Sequence[Part]) -> Steps:
    """Send the gradient of each part down once it is known."""
    for part in parts:
        yield from lane.after(part.served)
        yield from lane.download(("download_gradients", part.costs.gradient_bytes))
        part.downloaded.succeed(lane.last_span)


def after_server(me: Participant, plan: ClientPlan) -> Steps:
    """Go through what is left of a round after the server's part of the first of the plan's steps, without overlap."""
    first, *others = plan.steps
    step = me.world.costs.step(plan.client, plan.cut, first.num_samples, first.length_tokens)
    yield from me.download(("download_gradients", step.gradient_bytes))
    yield from me.compute("client_backward", step.client_backward_s)
    yield from me.compute("client_optimizer", step.client_optimizer_s)
    for batch in others:
        yield from split_step(me, plan, batch)
    yield from measure(me, plan)
    yield from hand_in(me, plan)


def run_round(
    world: World, number: int, plans: Sequence[ClientPlan], terms: Terms = FOR_EVERYBODY, *, num_parts: int
) -> RoundLog:
    """Run one round to its barrier on the clock and return its log; each batch has at most `num_parts` parts."""
    part = partial(client_round, num_parts=num_parts)
    return synchronous_round(world, number, plans, part, terms, path_s=played_s)
