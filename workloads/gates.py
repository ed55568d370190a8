"""The cuts of several clients in one model: a gate after each block, through which the activations of some pass."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from workloads.anatomy import Anatomy, exchange
from workloads.codecs import Boundary, StepNoise
from workloads.split import plain_attributes
from workloads.tasks import LOSSLESS_CODECS, Recipe, TrainTask


class GatedModel:
    """A model whose blocks but the last have gates behind them, if the recipe has codecs that change anything.

    Attributes:
        model: takes the samples of K clients, [K·B, T], those of the first client first.

    Args:
        model: without gates; not changed.
        anatomy: where its blocks are.
        recipe: names the codecs.
    """

    def __init__(self, model: PreTrainedModel, anatomy: Anatomy, recipe: Recipe) -> None:
        self.model = model
        self._recipe = recipe
        self._hidden_size: int = model.config.hidden_size
        self._gates: list[_Gate] = []
        if not {recipe.activation_codec, recipe.gradient_codec} <= LOSSLESS_CODECS:
            paths = [f"{anatomy.blocks}.{i}" for i in range(anatomy.num_blocks - 1)]
            self._gates = [_Gate(model.get_submodule(path), recipe) for path in paths]
            self.model = exchange(model, dict(zip(paths, self._gates, strict=True)))

    def set_cuts(self, tasks: Sequence[TrainTask], device: torch.device) -> None:
        """Tell each gate which of the clients are cut there."""
        for block, gate in enumerate(self._gates):
            here = [k for k, task in enumerate(tasks) if task.cut == block + 1]
            gate.num_clients = len(tasks)
            gate.clients = torch.tensor(here, device=device) if here else None

    def draw(self, tasks: Sequence[TrainTask], step: int, length_tokens: int, device: torch.device) -> None:
        """Give each gate the random numbers that its clients' codecs take in a step, padded as their batches are."""
        for block, gate in enumerate(self._gates):
            noises = [
                StepNoise.of(self._recipe, task.batches[step], task.first_step + step, self._hidden_size, device)
                for task in tasks
                if task.cut == block + 1
            ]
            gate.up = _joined([noise.up for noise in noises], length_tokens)
            gate.down = _joined([noise.down for noise in noises], length_tokens)


class _Gate(nn.Module):
    """A block, and codecs behind it for those clients that are cut there.

    Attributes:
        num_clients: K, in a batch [K·B, T, d].
        clients: which of them are cut here, int64; None for none.
        up, down: their random numbers, [B of each, T, d]; None where a codec takes none.
    """

    def __init__(self, block: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self._block = block
        self._codecs = recipe.activation_codec, recipe.gradient_codec
        self.num_clients = 1
        self.clients: Tensor | None = None
        self.up: Tensor | None = None
        self.down: Tensor | None = None
        for name, value in plain_attributes(block).items():
            setattr(self, name, value)

    def forward(self, *args: object, **kwargs: object) -> Tensor | tuple[Tensor, ...]:
        output: Tensor | tuple[Tensor, ...] = self._block(*args, **kwargs)
        if self.clients is None:
            return output
        hidden = output[0] if isinstance(output, tuple) else output
        by_client = hidden.reshape(self.num_clients, -1, *hidden.shape[1:])
        sent = by_client.index_select(0, self.clients)
        arrived, _ = Boundary.apply(sent.flatten(0, 1), *self._codecs, self.up, self.down)  # type: ignore[no-untyped-call]
        hidden = by_client.index_copy(0, self.clients, arrived.reshape(sent.shape)).flatten(0, 1)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def _joined(noises: Sequence[Tensor | None], length_tokens: int) -> Tensor | None:
    padded = [functional.pad(noise, (0, 0, 0, length_tokens - noise.shape[1])) for noise in noises if noise is not None]
    return torch.cat(padded) if padded else None
