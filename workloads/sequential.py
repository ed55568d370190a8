"""Train clients one after another, each by a client part and a server part that exchange tensors and nothing else.

This is split training as it would run on two machines, and the reference for every other executor.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from workloads.codecs import StepNoise, send
from workloads.engine import Engine, OnStep, State, Tensors
from workloads.local_loss import LocalLossTraining
from workloads.lora import Adapter, block_of, with_rows
from workloads.optimizer import Moments, PartOptimizer
from workloads.split import ClientPart, ServerPart, Upload, at_least_float32, next_token_loss, next_tokens
from workloads.tasks import Recipe, TrainResult, TrainTask
from workloads.u_shape import UShapeTraining

WITH_HEAD: Mapping[str, type[LocalLossTraining] | type[UShapeTraining]] = {
    "local-loss": LocalLossTraining,
    "u-shape": UShapeTraining,
}
"""Learning rules in which the client has a head."""


class Sequential:
    """Trains one client after another.

    Args:
        engine: the model to train.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def train(
        self, tasks: Sequence[TrainTask], states: Mapping[str, State], on_step: OnStep
    ) -> Iterator[tuple[State, TrainResult]]:
        """Yield what each task makes and reports, in the order of the tasks."""
        for task in tasks:
            yield self._train(task, states, on_step)

    def _train(self, task: TrainTask, states: Mapping[str, State], on_step: OnStep) -> tuple[State, TrainResult]:
        engine, optimizer = self._engine, self._engine.recipe.optimizer
        start = states[task.adapter].adapter
        engine.lora.shift_base(states[task.adapter].base_delta)
        parameters = engine.lora.put(start, task.ranks)
        moments = None if task.moments is None else states[task.moments].moments
        training = _training(engine, task.cut, parameters, moments)
        batches = [Tensors.of(batch, engine.device) for batch in task.batches]
        engine.base.train()
        losses = []
        with self._random_numbers(task):
            for step, (batch, tensors) in enumerate(zip(task.batches, batches, strict=True), task.first_step):
                noise = StepNoise.of(engine.recipe, batch, step, engine.base.config.hidden_size, engine.device)
                losses.append(training.step(tensors, step, noise))
                on_step(1)
        state = State(
            adapter=start | {key: with_rows(start[key], key, trained.detach()) for key, trained in parameters.items()},
            ranks=task.ranks,
            moments=training.moments(start) if optimizer.state == "kept" else None,
        )
        return state, TrainResult(
            key=task.key,
            losses=tuple(torch.stack(losses).tolist()),  # the only time that the host waits for the device
            num_tokens=sum(batch.num_tokens for batch in task.batches),
        )

    @contextmanager
    def _random_numbers(self, task: TrainTask) -> Iterator[None]:
        """Let dropout draw from a generator that the task alone decides on; without dropout nothing draws."""
        if self._engine.recipe.dropout == 0:
            yield
            return
        gpus = [self._engine.device] if self._engine.device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            torch.manual_seed(int(task.key[:16], 16))
            yield


class SplitTraining:
    """One client's training: its two parts, an optimizer for each, and the messages between them.

    Args:
        client, server: the parts.
        parameters: those of the client part and those of the server part.
        moments: that the client goes on with; None to start afresh.
        recipe: with the optimizers' settings and the codecs.
        precision: context of each part's computation.
    """

    def __init__(
        self,
        client: ClientPart,
        server: ServerPart,
        *,
        parameters: tuple[Mapping[str, nn.Parameter], Mapping[str, nn.Parameter]],
        moments: Moments | None,
        recipe: Recipe,
        precision: AbstractContextManager[object],
    ) -> None:
        self._client, self._server, self._precision = client, server, precision
        self._activation_codec, self._gradient_codec = recipe.activation_codec, recipe.gradient_codec
        self._client_optimizer, self._server_optimizer = (
            PartOptimizer(recipe.optimizer, own, moments) for own in parameters
        )
        self._num_steps = 0 if moments is None else moments.num_steps

    def step(self, batch: Tensors, step: int, noise: StepNoise) -> Tensor:
        """Train on one batch and return the loss.

        Args:
            batch: what to train on.
            step: the client's place in the learning-rate schedule.
            noise: what the codecs draw.
        """
        with self._precision:
            activations = self._client.forward(batch.ids)
            received, positions = send(at_least_float32(activations.detach()), self._activation_codec, noise.up)
            reply = self._server.step(Upload(activations=received, labels=batch.labels, lengths=batch.lengths))
            self._server_optimizer.step(step)
            gradients, _ = send(reply.gradients, self._gradient_codec, noise.down, positions)
            self._client.backward(activations, gradients)
            self._client_optimizer.step(step)
        self._num_steps += 1
        return reply.loss

    def moments(self, full: Adapter) -> Moments:
        """Return what the client remembers, at full rank, the shapes of `full`."""
        first, second = self._client_optimizer.moments(full)
        server_first, server_second = self._server_optimizer.moments(full)
        return Moments(first=first | server_first, second=second | server_second, num_steps=self._num_steps)


class WholeTraining:
    """One client's training of the whole model, of which nothing is cut off; as `SplitTraining` otherwise."""

    def __init__(self, engine: Engine, parameters: Mapping[str, nn.Parameter], moments: Moments | None) -> None:
        self._engine = engine
        self._optimizer = PartOptimizer(engine.recipe.optimizer, parameters, moments)
        self._num_steps = 0 if moments is None else moments.num_steps

    def step(self, batch: Tensors, step: int, noise: StepNoise) -> Tensor:  # noqa: ARG002 - nothing is coded
        """Train on one batch and return the loss; see `SplitTraining.step`."""
        with self._engine.precision:
            logits = self._engine.base(input_ids=batch.ids, use_cache=False).logits
            loss = next_token_loss(logits, next_tokens(batch.labels, batch.lengths))
            torch.autograd.backward(loss)
            self._optimizer.step(step)
        self._num_steps += 1
        return loss.detach()

    def moments(self, full: Adapter) -> Moments:
        """Return what the client remembers, at full rank, the shapes of `full`."""
        first, second = self._optimizer.moments(full)
        return Moments(first=first, second=second, num_steps=self._num_steps)


def _training(
    engine: Engine, cut: int, parameters: Mapping[str, nn.Parameter], moments: Moments | None
) -> SplitTraining | WholeTraining | LocalLossTraining | UShapeTraining:
    """Return a client's training, split after block `cut`, or whole where that is the last."""
    if cut == engine.split.anatomy.num_blocks:
        return WholeTraining(engine, parameters, moments)
    if with_head := WITH_HEAD.get(engine.recipe.learning_rule):
        return with_head(
            engine.split,
            cut,
            parameters=by_part(parameters, cut),
            moments=moments,
            recipe=engine.recipe,
            precision=engine.precision,
        )
    client, server = engine.split.parts(cut)
    return SplitTraining(
        client,
        server,
        parameters=by_part(parameters, cut),
        moments=moments,
        recipe=engine.recipe,
        precision=engine.precision,
    )


def by_part(
    parameters: Mapping[str, nn.Parameter], cut: int
) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """Return the parameters of blocks 1..cut, which are the client's, and those of the others."""
    client = {key: parameter for key, parameter in parameters.items() if block_of(key) < cut}
    return client, {key: parameter for key, parameter in parameters.items() if key not in client}
