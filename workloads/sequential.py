"""Train clients one after another, each by a client part and a server part that exchange tensors and nothing else.

This is split training as it would run on two machines, and the reference for every other executor.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from workloads.codecs import StepNoise, send
from workloads.engine import Engine, OnStep, State, Tensors
from workloads.local_loss import LocalLossTraining
from workloads.lora import with_rows
from workloads.optimizer import Moments
from workloads.split import Upload, at_least_float32, next_token_loss, next_tokens
from workloads.tasks import TrainResult, TrainTask
from workloads.training import Parameters, Training, by_part
from workloads.u_shape import UShapeTraining


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
        with engine.dropout_drawn_from(task.key):
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


class SplitTraining(Training):
    """One client's training: its two parts and the messages between them."""

    def __init__(self, engine: Engine, cut: int, parameters: Parameters, moments: Moments | None) -> None:
        super().__init__(engine, by_part(parameters, cut), moments)
        self._client, self._server = engine.split.parts(cut)

    def _train(self, batch: Tensors, step: int, noise: StepNoise) -> Tensor:
        client_optimizer, server_optimizer = self._optimizers
        activations = self._client.forward(batch.ids)
        received, positions = send(at_least_float32(activations.detach()), self._recipe.activation_codec, noise.up)
        reply = self._server.step(Upload(activations=received, labels=batch.labels, lengths=batch.lengths))
        server_optimizer.step(step)
        gradients, _ = send(reply.gradients, self._recipe.gradient_codec, noise.down, positions)
        self._client.backward(activations, gradients)
        client_optimizer.step(step)
        return reply.loss


class WholeTraining(Training):
    """One client's training of the whole model, of which nothing is cut off and nothing coded."""

    def __init__(self, engine: Engine, parameters: Parameters, moments: Moments | None) -> None:
        super().__init__(engine, (parameters,), moments)
        self._base = engine.base

    def _train(self, batch: Tensors, step: int, noise: StepNoise) -> Tensor:  # noqa: ARG002 - nothing is coded
        logits = self._base(input_ids=batch.ids, use_cache=False).logits
        loss = next_token_loss(logits, next_tokens(batch.labels, batch.lengths))
        torch.autograd.backward(loss)
        self._optimizers[0].step(step)
        return loss.detach()


BY_RULE: Mapping[str, type[SplitTraining] | type[LocalLossTraining] | type[UShapeTraining]] = {
    "local-loss": LocalLossTraining,
    "u-shape": UShapeTraining,
}
"""How learning rules train that have more parts than two, or more losses than one."""


def _training(engine: Engine, cut: int, parameters: Parameters, moments: Moments | None) -> Training:
    """Return a client's training, split after block `cut`, or whole where that is the last."""
    if cut == engine.split.anatomy.num_blocks:
        return WholeTraining(engine, parameters, moments)
    return BY_RULE.get(engine.recipe.learning_rule, SplitTraining)(engine, cut, parameters, moments)
