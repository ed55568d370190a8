"""U-shaped split training: the server has the blocks in the middle, final norm, LM head and loss are the client's.

Split learning without label sharing: Vepakomma et al. 2018 (arXiv 1812.00564). What the parts exchange are activations
and gradients; the codecs of either work in both places, at the cut and in front of the head.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from workloads.codecs import StepNoise, send
from workloads.engine import Tensors
from workloads.lora import Adapter
from workloads.optimizer import Moments, PartOptimizer
from workloads.split import SplitModel, Upload, at_least_float32
from workloads.tasks import Recipe


class UShapeTraining:
    """One client's training: its blocks, the server's, its head, and the four messages between them.

    Args:
        split: the model.
        cut: blocks on the client.
        parameters: those of the client's blocks and those of the server's.
        moments: that the client goes on with; None to start afresh.
        recipe: with the optimizers' settings and the codecs.
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
        self._client, self._server, self._head = split.parts(cut)[0], split.middle(cut), split.head
        self._activation_codec, self._gradient_codec = recipe.activation_codec, recipe.gradient_codec
        self._precision = precision
        self._client_optimizer, self._server_optimizer = (
            PartOptimizer(recipe.optimizer, own, moments) for own in parameters
        )
        self._num_steps = 0 if moments is None else moments.num_steps

    def step(self, batch: Tensors, step: int, noise: StepNoise) -> Tensor:
        """Train on one batch and return the client's loss.

        Args:
            batch: what to train on.
            step: the client's place in the learning-rate schedule.
            noise: what the codecs draw.
        """
        with self._precision:
            activations = self._client.forward(batch.ids)
            received, positions = send(at_least_float32(activations.detach()), self._activation_codec, noise.up)
            received.requires_grad_()
            hidden = self._server.forward(received)
            arrived, head_positions = send(at_least_float32(hidden.detach()), self._activation_codec, noise.to_head)
            reply = self._head.step(Upload(activations=arrived, labels=batch.labels, lengths=batch.lengths))
            returned, _ = send(reply.gradients, self._gradient_codec, noise.from_head, head_positions)
            torch.autograd.backward(hidden, returned.to(hidden.dtype))
            self._server_optimizer.step(step)
            assert received.grad is not None
            gradients, _ = send(received.grad, self._gradient_codec, noise.down, positions)
            self._client.backward(activations, gradients)
            self._client_optimizer.step(step)
        self._num_steps += 1
        return reply.loss

    def moments(self, full: Adapter) -> Moments:
        """Return what the client remembers, at full rank, the shapes of `full`."""
        first, second = self._client_optimizer.moments(full)
        server_first, server_second = self._server_optimizer.moments(full)
        return Moments(first=first | server_first, second=second | server_second, num_steps=self._num_steps)
