"""U-shaped split training: the server has the blocks in the middle, final norm, LM head and loss are the client's.

Split learning without label sharing: Vepakomma et al. 2018 (arXiv 1812.00564). What the parts exchange are activations
and gradients; the codecs of either work in both places, at the cut and in front of the head.
"""

import torch
from torch import Tensor

from workloads.codecs import StepNoise, send
from workloads.engine import Engine, Tensors
from workloads.optimizer import Moments
from workloads.split import Upload, at_least_float32
from workloads.training import Parameters, Training, by_part


class UShapeTraining(Training):
    """One client's training: its blocks, the server's, its head, and the four messages between them."""

    def __init__(self, engine: Engine, cut: int, parameters: Parameters, moments: Moments | None) -> None:
        super().__init__(engine, by_part(parameters, cut), moments)
        split = engine.split
        self._client, self._server, self._head = split.parts(cut)[0], split.middle(cut), split.head

    def _train(self, batch: Tensors, step: int, noise: StepNoise) -> Tensor:
        up, down = self._recipe.activation_codec, self._recipe.gradient_codec
        client_optimizer, server_optimizer = self._optimizers
        activations = self._client.forward(batch.ids)
        received, positions = send(at_least_float32(activations.detach()), up, noise.up)
        received.requires_grad_()
        hidden = self._server.forward(received)
        arrived, head_positions = send(at_least_float32(hidden.detach()), up, noise.to_head)
        reply = self._head.step(Upload(activations=arrived, labels=batch.labels, lengths=batch.lengths))
        returned, _ = send(reply.gradients, down, noise.from_head, head_positions)
        torch.autograd.backward(hidden, returned.to(hidden.dtype))
        server_optimizer.step(step)
        assert received.grad is not None
        gradients, _ = send(received.grad, down, noise.down, positions)
        self._client.backward(activations, gradients)
        client_optimizer.step(step)
        return reply.loss
