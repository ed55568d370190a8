"""Train the members of an interleaving: clients that share one server adapter, in a given order of their steps.

Each step is ordinary split training of one batch (`workloads.sequential`), from the member's own client part and the
server's part as the steps before have left them. AdamW keeps nothing but moments and counts of steps, so going on from
these step by step is, to the bit, what one optimizer that lives through all steps would do.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from workloads.codecs import StepNoise
from workloads.engine import Engine, OnStep, State, Tensors
from workloads.interleaved_tasks import InterleavedTask
from workloads.lora import Adapter, block_of, with_rows
from workloads.optimizer import Moments
from workloads.sequential import SplitTraining
from workloads.tasks import TrainResult
from workloads.training import by_part


@dataclass
class Holding:
    """What one side has: values of adapters, and moments of what it has trained.

    Attributes:
        adapter: at full rank.
        first, second: moments at full rank, of parameters that it has trained.
        steps: how many steps each of their blocks has taken.
    """

    adapter: Adapter = field(default_factory=dict)
    first: Adapter = field(default_factory=dict)
    second: Adapter = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, adapter: Adapter, moments: Moments | None) -> "Holding":
        """Return what somebody has who goes on with an adapter and with moments, if there are any."""
        if moments is None:
            return cls(adapter=adapter)
        steps = {block_of(key): moments.steps_of(key) for key in moments.first}
        return cls(adapter=adapter, first=dict(moments.first), second=dict(moments.second), steps=steps)

    def moments(self, num_blocks: int) -> Moments:
        """Return the moments."""
        steps = tuple(self.steps.get(block, 0) for block in range(num_blocks))
        return Moments(first=self.first, second=self.second, num_steps=max(steps), block_steps=steps)


class Interleaved:
    """The members of one interleaving at work.

    Args:
        engine: the model to train.
        tasks: the members, by place.
        states: by key, those that the tasks start from.
    """

    def __init__(self, engine: Engine, tasks: Sequence[InterleavedTask], states: Mapping[str, State]) -> None:
        self._engine, self._tasks = engine, tasks
        self._interleaving = tasks[0].interleaving
        if [task.place for task in tasks] != list(range(len(self._interleaving.members))):
            raise ValueError("the members of an interleaving have to be trained as a whole, in their order")
        start = states[tasks[0].adapter]
        engine.lora.shift_base(start.base_delta)
        key = self._interleaving.server
        self._num_blocks = len(tasks[0].ranks)
        shared = None if key is None else states[key].shared
        self._start, self._server = start.adapter, Holding.of(dict(start.adapter), shared)
        self._clients = [
            Holding.of({}, None if task.moments is None else states[task.moments].moments) for task in tasks
        ]
        self._losses: list[list[Tensor]] = [[] for _ in tasks]

    def train(self, on_step: OnStep) -> Iterator[tuple[State, TrainResult]]:
        """Yield what each member makes and reports, by place."""
        self._engine.base.train()
        order, is_relayed = self._interleaving.order, self._interleaving.relayed
        handed_on = dict[int, Adapter]()
        for (place, step), (following, _) in zip(order, [*order[1:], (-1, -1)], strict=True):
            if step == 0:
                self._clients[place].adapter = self._client_part(place)
            self._step(place, step)
            on_step(1)
            if is_relayed and following != place:
                handed_on[place] = self._whole(place)
                self._server.adapter = dict(handed_on[place])
        last = order[-1][0]
        for place, task in enumerate(self._tasks):
            adapter = handed_on[place] if is_relayed else self._whole(place)
            yield self._result(task, adapter, holds_server=place == last)

    def _step(self, place: int, step: int) -> None:
        task, engine, client = self._tasks[place], self._engine, self._clients[place]
        full = self._server.adapter | client.adapter
        parameters = engine.lora.put(full, task.ranks)
        parts = by_part(parameters, task.cut)
        batch, number = task.batches[step], task.first_step + step
        before = self._moments(place, full, parts)
        training = SplitTraining(engine, task.cut, parameters, before)
        noise = StepNoise.of(engine.recipe, batch, number, engine.base.config.hidden_size, engine.device)
        with engine.dropout_drawn_from(hashlib.sha256(f"{task.key} {step}".encode()).hexdigest()):
            self._losses[place].append(training.step(Tensors.of(batch, engine.device), number, noise))
        moments = training.moments(full)
        for holding, own in zip((client, self._server), parts, strict=True):
            for key, trained in own.items():
                holding.adapter[key] = with_rows(full[key], key, trained.detach())
                holding.first[key], holding.second[key] = moments.first[key], moments.second[key]
            for block in {block_of(key) for key in own}:
                holding.steps[block] = before.block_steps[block] + 1

    def _moments(self, place: int, full: Adapter, parts: Sequence[Mapping[str, nn.Parameter]]) -> Moments:
        """Return what the two optimizers of a step go on with: zeros where nothing has been trained yet."""
        first, second, steps = Adapter(), Adapter(), [0] * self._num_blocks
        for holding, own in zip((self._clients[place], self._server), parts, strict=True):
            for key in own:
                first[key] = holding.first.get(key, torch.zeros_like(full[key]))
                second[key] = holding.second.get(key, torch.zeros_like(full[key]))
                steps[block_of(key)] = holding.steps.get(block_of(key), 0)
        return Moments(first=first, second=second, num_steps=max(steps), block_steps=tuple(steps))

    def _client_part(self, place: int) -> Adapter:
        """Return what a member starts with; moments of blocks that are new to it start afresh."""
        start = self._server.adapter if self._interleaving.relayed else self._start
        return {key: values for key, values in start.items() if block_of(key) < self._tasks[place].cut}

    def _whole(self, place: int) -> Adapter:
        """Return a member's whole adapter; the server's alone where the member does not hand in."""
        own = self._clients[place].adapter if self._interleaving.hands_in[place] else {}
        return self._server.adapter | own

    def _result(self, task: InterleavedTask, adapter: Adapter, *, holds_server: bool) -> tuple[State, TrainResult]:
        keeps = self._engine.recipe.optimizer.state == "kept"
        state = State(
            adapter=adapter,
            ranks=task.ranks,
            moments=self._clients[task.place].moments(self._num_blocks) if keeps else None,
            shared=self._server.moments(self._num_blocks) if keeps and holds_server else None,
        )
        result = TrainResult(
            key=task.key,
            losses=tuple(torch.stack(self._losses[task.place]).tolist()),
            num_tokens=sum(batch.num_tokens for batch in task.batches),
        )
        return state, result


def train_interleaved(
    engine: Engine, tasks: Sequence[InterleavedTask], states: Mapping[str, State], on_step: OnStep
) -> Iterator[tuple[State, TrainResult]]:
    """Yield what the members of each interleaving make and report, by place.

    Raises:
        ValueError: an interleaving is not whole.
    """
    wholes: dict[str, list[InterleavedTask]] = {}
    for task in tasks:
        wholes.setdefault(task.interleaving.name, []).append(task)
    for members in wholes.values():
        yield from Interleaved(engine, members, states).train(on_step)
