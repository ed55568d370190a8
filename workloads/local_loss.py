"""Split training with a local loss: clients learn from a head at the cut, the server from what it is sent.

DTFL (arXiv 2312.05642) with a head that needs no training: the model's own final norm and LM head, frozen.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from workloads.codecs import StepNoise, send
from workloads.engine import Tensors
from workloads.lora import Adapter
from workloads.optimizer import Moments, PartOptimizer
from workloads.split import SplitModel, Upload, at_least_float32, next_token_loss, next_tokens
from workloads.tasks import Recipe


class LocalLossTraining:
    """One client's training: its two parts, which share no graph, and an optimizer for each.

    Args:
        split: the model.
        cut: blocks on the client.
        parameters: those of the client part and those of the server part.
        moments: that the client goes on with; None to start afresh.
        recipe: with the optimizers' settings and the codec of the activations.
        precision: context of each part's computation.
    """

    def __init__(
        self,
        split: SplitModel,
        cut: int,
        *,
        parameters: tuple[Mapping[str, nn.Parameter], Mapping[str, nn.Parameter]],
        moments: Moments | None,
        recipe: Recipe,
        precision: AbstractContextManager[object],
    ) -> None:
        (self._client, self._server), self._head = split.parts(cut), split.head
        self._codec, self._precision = recipe.activation_codec, precision
        self._client_optimizer, self._server_optimizer = (
            PartOptimizer(recipe.optimizer, own, moments) for own in parameters
        )
        self._num_steps = 0 if moments is None else moments.num_steps

    def step(self, batch: Tensors, step: int, noise: StepNoise) -> Tensor:
        """Train both parts on one batch and return the server's loss, that of the whole model.

        Args:
            batch: what to train on.
            step: the client's place in the learning-rate schedule.
            noise: what the codec draws.
        """
        with self._precision:
            activations = self._client.forward(batch.ids)
            logits = self._head.logits(at_least_float32(activations))
            torch.autograd.backward(next_token_loss(logits, next_tokens(batch.labels, batch.lengths)))
            self._client_optimizer.step(step)
            received, _ = send(at_least_float32(activations.detach()), self._codec, noise.up)
            reply = self._server.step(Upload(activations=received, labels=batch.labels, lengths=batch.lengths))
            self._server_optimizer.step(step)
        self._num_steps += 1
        return reply.loss

    def moments(self, full: Adapter) -> Moments:
        """Return what the client remembers, at full rank, the shapes of `full`."""
        first, second = self._client_optimizer.moments(full)
        server_first, server_second = self._server_optimizer.moments(full)
        return Moments(first=first | server_first, second=second | server_second, num_steps=self._num_steps)
