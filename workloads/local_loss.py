"""Split training with a local loss: clients learn from a head at the cut, the server from what it is sent.

DTFL (arXiv 2312.05642) with a head that needs no training: the model's own final norm and LM head, frozen.
"""

import torch
from torch import Tensor

from workloads.codecs import StepNoise, send
from workloads.engine import Engine, Tensors
from workloads.optimizer import Moments
from workloads.split import Upload, at_least_float32, next_token_loss, next_tokens
from workloads.training import Parameters, Training, by_part


class LocalLossTraining(Training):
    """One client's training: its two parts, which share no graph. The loss that it reports is the server's."""

    def __init__(self, engine: Engine, cut: int, parameters: Parameters, moments: Moments | None) -> None:
        super().__init__(engine, by_part(parameters, cut), moments)
        (self._client, self._server), self._head = engine.split.parts(cut), engine.split.head

    def _train(self, batch: Tensors, step: int, noise: StepNoise) -> Tensor:
        client_optimizer, server_optimizer = self._optimizers
        activations = self._client.forward(batch.ids)
        logits = self._head.logits(at_least_float32(activations))
        torch.autograd.backward(next_token_loss(logits, next_tokens(batch.labels, batch.lengths)))
        client_optimizer.step(step)
        received, _ = send(at_least_float32(activations.detach()), self._recipe.activation_codec, noise.up)
        reply = self._server.step(Upload(activations=received, labels=batch.labels, lengths=batch.lengths))
        server_optimizer.step(step)
        return reply.loss
