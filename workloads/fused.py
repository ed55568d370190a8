"""Train the clients of a round together: one pass of the whole model for all clients of a group.

They share all weights but their adapters'. So their samples are put together into one long batch, and only the products
with adapters are computed client by client, by `torch.func.vmap` over the stacked weights. The model is not cut: its
parts would compute the same. Codecs work where the cuts are, each on the samples of the clients that are cut there.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workloads.anatomy import exchange, probe_ids
from workloads.batches import IGNORED_LABEL, Batch
from workloads.engine import Engine, OnStep, State, Tensors
from workloads.gates import GatedModel
from workloads.grouping import groups_of
from workloads.lora import Adapter, block_of, is_a, rows, slot_path, with_rows
from workloads.optimizer import Moments
from workloads.sequential import Sequential
from workloads.split import at_least_float32, next_tokens
from workloads.stacked import StackedAdamW, StackedLinear, stack
from workloads.tasks import TrainResult, TrainTask

# Of the norm of the logits; kernels that sum in another order differ by far less, samples that mix by far more.
_PROBE_TOLERANCE = 0.02


class CannotFuseError(ValueError):
    """Clients together would not compute what each of them computes alone."""


class Fused:
    """Trains the clients of a group together.

    Args:
        engine: the model to train.

    Raises:
        CannotFuseError: clients cannot be trained together in this model.
    """

    def __init__(self, engine: Engine) -> None:
        if engine.recipe.dropout > 0:
            raise CannotFuseError("each client draws its own dropout")
        self._engine, self._alone = engine, Sequential(engine)
        self._slots = {key: StackedLinear() for key in engine.lora.shapes}
        stacked = exchange(engine.base, {slot_path(key): slot for key, slot in self._slots.items()})
        self._gated = GatedModel(stacked, engine.split.anatomy, engine.recipe)
        self._check_samples_are_independent()

    def train(
        self, tasks: Sequence[TrainTask], states: Mapping[str, State], on_step: OnStep
    ) -> Iterator[tuple[State, TrainResult]]:
        """Yield what each task makes and reports, group by group; who is in no group is trained alone."""
        for group in groups_of(tasks):
            yield from (self._train if len(group) > 1 else self._alone.train)(group, states, on_step)

    def _train(
        self, group: Sequence[TrainTask], states: Mapping[str, State], on_step: OnStep
    ) -> Iterator[tuple[State, TrainResult]]:
        engine, recipe = self._engine, self._engine.recipe
        start = states[group[0].adapter]
        before = [None if task.moments is None else states[task.moments].moments for task in group]
        of_steps = zip(*(task.batches for task in group), strict=True)
        batches = [Tensors.of(_together(of_step), engine.device) for of_step in of_steps]
        engine.lora.shift_base(start.base_delta)
        parameters = self._put([start.adapter] * len(group), [task.ranks for task in group])
        optimizer = StackedAdamW(
            recipe.optimizer,
            parameters,
            ranks=[task.ranks for task in group],
            cuts=[task.cut for task in group],
            moments=before,
            first_steps=[task.first_step for task in group],
            num_steps=len(batches),
            masks_dormant=recipe.dormant == "frozen",
        )
        self._gated.model.train()
        self._gated.set_cuts(group, engine.device)
        losses = []
        for step, batch in enumerate(batches):
            self._gated.draw(group, step, batch.ids.shape[1], engine.device)
            with engine.precision:
                loss = self._losses(batch, len(group))
            torch.autograd.backward(loss.sum())
            optimizer.step(step)
            losses.append(loss.detach())
            on_step(len(group))
        of_client = torch.stack(losses, 1).tolist()  # the only time that the host waits for the device
        for i, task in enumerate(group):
            num_tokens = sum(batch.num_tokens for batch in task.batches)
            result = TrainResult(key=task.key, losses=tuple(of_client[i]), num_tokens=num_tokens)
            yield self._state(i, task, start.adapter, before[i], optimizer), result

    def _put(self, adapters: Sequence[Adapter], ranks: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Let the model work with the clients' adapters; return those parameters that are trained."""
        recipe, parameters = self._engine.recipe, {}
        for key, slot in self._slots.items():
            of_block = [of_client[block_of(key)] for of_client in ranks]
            values = [adapter[key] for adapter in adapters]
            slot.weight = stack(values, key, of_block, keeps_dormant=recipe.dormant == "frozen")
            if recipe.trains_a or not is_a(key):
                parameters[key] = slot.weight.requires_grad_()
        return parameters

    def _losses(self, batch: Tensors, num_clients: int) -> Tensor:
        """Return each client's mean loss in nats over its predicted positions, [K]."""
        targets = next_tokens(batch.labels, batch.lengths)
        logits = at_least_float32(self._gated.model(input_ids=batch.ids, use_cache=False).logits)
        losses = functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED_LABEL, reduction="none"
        )
        num_predicted = (targets != IGNORED_LABEL).reshape(num_clients, -1).sum(1)
        return losses.reshape(num_clients, -1).sum(1) / num_predicted

    def _state(self, i: int, task: TrainTask, start: Adapter, before: Moments | None, optimizer: StackedAdamW) -> State:
        """Return what client i of a group has become, in memory of its own."""

        def own(stacked: Mapping[str, Tensor], full: Adapter | None) -> Adapter:
            return {
                key: with_rows(
                    torch.zeros_like(start[key]) if full is None else full[key],
                    key,
                    rows(values.detach()[i], key, task.ranks[block_of(key)]).clone(),
                )
                for key, values in stacked.items()
            }

        moments = None
        if self._engine.recipe.optimizer.state == "kept":
            moments = Moments(
                first=own(optimizer.first, None if before is None else before.first),
                second=own(optimizer.second, None if before is None else before.second),
                num_steps=(0 if before is None else before.num_steps) + len(task.batches),
            )
        return State(adapter=start | own(optimizer.parameters, start), ranks=task.ranks, moments=moments)

    @torch.no_grad()
    def _check_samples_are_independent(self) -> None:
        """Refuse a model in which clients together do not get what each gets alone."""
        engine = self._engine
        ids = torch.cat([probe_ids(engine.base), probe_ids(engine.base).flip(1)])
        draws = torch.Generator().manual_seed(0)
        adapters = [
            {
                key: torch.randn(shape, generator=draws).to(engine.device, engine.lora.dtype) / shape[1]
                for key, shape in engine.lora.shapes.items()
            }
            for _ in range(2)
        ]
        alone = []
        with engine.precision:
            for adapter in adapters:
                engine.lora.put(adapter)
                alone.append(engine.base(input_ids=ids, use_cache=False).logits.float())
            self._put(adapters, [(engine.recipe.rank,) * engine.split.anatomy.num_blocks] * 2)
            try:
                together = self._gated.model(input_ids=ids.repeat(2, 1), use_cache=False).logits.float()
            except RuntimeError as error:
                raise CannotFuseError(str(error)) from None
        expected = torch.cat(alone)
        if not torch.linalg.vector_norm(together - expected) <= _PROBE_TOLERANCE * torch.linalg.vector_norm(expected):
            raise CannotFuseError("what the model computes for a sample depends on the others in a batch")


def _together(batches: Sequence[Batch]) -> Batch:
    """Return the samples of all batches as one batch, padded to the longest."""
    longest = max(batch.length_tokens for batch in batches)

    def joined(arrays: Sequence[np.ndarray], fill: int) -> np.ndarray:
        return np.concatenate([np.pad(a, ((0, 0), (0, longest - a.shape[1])), constant_values=fill) for a in arrays])

    return Batch(
        ids=joined([batch.ids for batch in batches], 0),
        labels=joined([batch.labels for batch in batches], IGNORED_LABEL),
        lengths=np.concatenate([batch.lengths for batch in batches]),
    )
