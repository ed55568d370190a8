"""A base model made ready for a recipe, what tasks make of it, and what an executor is.

`workloads.trainer` keeps states and executes tasks; how the clients of a round are trained is an executor's:
`workloads.sequential` trains one after another, `workloads.fused` together.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from workloads.batches import Batch
from workloads.loading import autocast, load_base, pick_device
from workloads.lora import Adapter, LoraModel
from workloads.models import ModelFiles
from workloads.optimizer import Moments
from workloads.split import SplitModel
from workloads.tasks import Recipe, TrainResult, TrainTask

OnStep = Callable[[int], None]
"""Called with how many client-steps were done since the last call."""


@dataclass(frozen=True, kw_only=True)
class State:
    """What a task has made.

    Attributes:
        adapter: at full rank.
        ranks: rows of each block that a client has trained; empty for a global adapter.
        moments: of that client; None for a global adapter and where they are not kept.
        base_delta: what a global adapter wants added to the base model, as `LoraModel.shift_base` takes it; empty for a
            client's, which goes with the delta that it was trained with.
        shared: moments of a server that has one adapter for all clients; None for every other state.
    """

    adapter: Adapter
    ranks: tuple[int, ...] = ()
    moments: Moments | None = None
    base_delta: Mapping[str, Tensor] = field(default_factory=dict)
    shared: Moments | None = None


class Engine:
    """A base model on a device, with adapters in its blocks, that can be cut between them.

    Attributes:
        recipe: what all tasks share.
        device: where tensors live.
        base: the model; its adapters are what was last put into `lora`.
        split: its parts.
        lora: its adapters.
        precision: the context to compute in.

    Args:
        recipe: what all tasks share.
        model: the base model.
        device: as `workloads.loading.pick_device` takes it.
        checkpointing: whether blocks keep their inputs alone for the backward pass and compute the rest again.

    Raises:
        ValueError: the device is not on this machine, or the model's blocks cannot be computed again.
        UnsupportedModelError: the model cannot be split.
        TargetError: the modules to adapt are not in the model.
    """

    def __init__(self, recipe: Recipe, model: ModelFiles, *, device: str, checkpointing: bool = False) -> None:
        self.recipe = recipe
        self.device = pick_device(device)
        self.base = load_base(model, device=self.device, dtype=recipe.dtype, dropout=recipe.dropout)
        if checkpointing:
            # transformers has renamed the method. Not reentrant: such a checkpoint gives no gradient to adapters of
            # the first block, whose input carries none.
            enable = getattr(self.base, "activation_checkpointing_enable", None)
            (enable or self.base.gradient_checkpointing_enable)({"use_reentrant": False})
        self.split = SplitModel(self.base)
        self.lora = LoraModel(
            self.base,
            targets=recipe.targets,
            rank=recipe.rank,
            alpha=recipe.alpha,
            dropout=recipe.dropout,
            dormant=recipe.dormant,
            trains_a=recipe.trains_a,
        )
        self.precision = autocast(self.device, recipe.dtype)

    @contextmanager
    def dropout_drawn_from(self, digest: str) -> Iterator[None]:
        """Let dropout draw from a generator that a digest in hex alone decides on; without dropout nothing draws."""
        if self.recipe.dropout == 0:
            yield
            return
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(digest[:16], 16))
            yield


class Executor(Protocol):
    """Trains the clients of a round."""

    def train(
        self, tasks: Sequence[TrainTask], states: Mapping[str, State], on_step: OnStep
    ) -> Iterator[tuple[State, TrainResult]]:
        """Yield what each task makes and reports, as soon as it is done, in any order.

        Args:
            tasks: all of the engine's recipe.
            states: by key, those that the tasks start from; read only.
            on_step: called as steps are done.
        """


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """A batch on the device, int32 as it would travel: `ids` and `labels` [B, T], `lengths` [B]."""

    ids: Tensor
    labels: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> "Tensors":
        """Return a batch's arrays on a device."""
        arrays = [torch.from_numpy(array) for array in (batch.ids, batch.labels, batch.lengths)]
        if device.type == "cuda":
            arrays = [array.pin_memory() for array in arrays]  # else the host would wait for the GPU to copy them
        ids, labels, lengths = (array.to(device, non_blocking=True) for array in arrays)
        return cls(ids=ids, labels=labels, lengths=lengths)
