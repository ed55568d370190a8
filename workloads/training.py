"""One client's training, as every learning rule that trains clients one by one has it: an optimizer for each part."""

from collections.abc import Mapping

from torch import Tensor, nn

from workloads.codecs import StepNoise
from workloads.engine import Engine, Tensors
from workloads.lora import Adapter, block_of
from workloads.optimizer import Moments, PartOptimizer

Parameters = Mapping[str, nn.Parameter]


class Training:
    """One client's training: its parts' optimizers and how many steps they have taken.

    Args:
        engine: the model to train, with the optimizers' settings and the codecs in its recipe.
        parts: what each part trains.
        moments: that the client goes on with; None to start afresh.
    """

    def __init__(self, engine: Engine, parts: tuple[Parameters, ...], moments: Moments | None) -> None:
        self._recipe, self._precision = engine.recipe, engine.precision
        self._optimizers = tuple(PartOptimizer(engine.recipe.optimizer, own, moments) for own in parts)
        self._num_steps = 0 if moments is None else moments.num_steps

    def step(self, batch: Tensors, step: int, noise: StepNoise) -> Tensor:
        """Train on one batch and return the loss of the whole model before that.

        Args:
            batch: what to train on.
            step: the client's place in the learning-rate schedule.
            noise: what the codecs draw.
        """
        with self._precision:
            loss = self._train(batch, step, noise)
        self._num_steps += 1
        return loss

    def _train(self, batch: Tensors, step: int, noise: StepNoise) -> Tensor:
        """Train every part on one batch; see `step`."""
        raise NotImplementedError

    def moments(self, full: Adapter) -> Moments:
        """Return what the client remembers, at full rank, the shapes of `full`."""
        first, second = Adapter(), Adapter()
        for optimizer in self._optimizers:
            of_part = optimizer.moments(full)
            first |= of_part[0]
            second |= of_part[1]
        return Moments(first=first, second=second, num_steps=self._num_steps)


def by_part(parameters: Parameters, cut: int) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """Return the parameters of blocks 1..cut, which are the client's, and those of the others."""
    client = {key: parameter for key, parameter in parameters.items() if block_of(key) < cut}
    return client, {key: parameter for key, parameter in parameters.items() if key not in client}
