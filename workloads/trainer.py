"""Real split LoRA training: executes the tasks of `workloads.tasks` with torch.

Clients are trained one after another, each by a client part and a server part that exchange tensors and nothing else,
and each part has its own optimizer. What tasks make, adapters and moments, is kept here under their keys.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from workloads.aggregate import RULES, Update
from workloads.batches import IGNORED_LABEL, Batch
from workloads.loading import DTYPES, autocast, load_base, pick_device
from workloads.lora import Adapter, LoraModel, block_of, with_rows
from workloads.models import ModelFiles
from workloads.numerics import numerics_id
from workloads.optimizer import Moments, PartOptimizer
from workloads.split import ClientPart, ServerPart, SplitModel, Upload, next_token_loss, next_tokens
from workloads.tasks import (
    LOSSLESS_CODECS,
    AggregateTask,
    EvalResult,
    EvalTask,
    InitialTask,
    OptimizerSpec,
    Recipe,
    TrainResult,
    TrainTask,
)


@dataclass(frozen=True, kw_only=True)
class State:
    """What a task has made.

    Attributes:
        adapter: at full rank.
        ranks: rows of each block that a client has trained; empty for a global adapter.
        moments: of that client; None for a global adapter and where they are not kept.
    """

    adapter: Adapter
    ranks: tuple[int, ...] = ()
    moments: Moments | None = None


class TorchTrainer:
    """Trains, averages and measures adapters of one base model.

    Attributes:
        numerics: names all of the machine and the software that can change a result.

    Args:
        recipe: what all tasks share; its numerics must be those of this machine (`workloads.numerics.numerics_id`).
        model: the base model.
        device: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:1`.

    Raises:
        ValueError: the device, dtype or codec is not available, or the recipe is for another machine.
        UnsupportedModelError: the model cannot be split.
        TargetError: the modules to adapt are not in the model.
    """

    def __init__(self, recipe: Recipe, model: ModelFiles, *, device: str = "auto") -> None:
        self._device = pick_device(device)
        self.numerics = numerics_id(device, recipe.dtype)
        _check(recipe, self.numerics)
        self._recipe, self._files = recipe, model
        self._base = load_base(model, device=self._device, dtype=recipe.dtype, dropout=recipe.dropout)
        self._split = SplitModel(self._base)
        self._lora = LoraModel(
            self._base, targets=recipe.targets, rank=recipe.rank, alpha=recipe.alpha, dropout=recipe.dropout
        )
        self._precision = autocast(self._device, recipe.dtype)
        self._states: dict[str, State] = {}

    def initial(self, task: InitialTask) -> str:
        """Make the first global adapter and return its key."""
        self._check_recipe(task.recipe)
        self._states[task.key] = State(adapter=self._lora.initial(task.recipe.adapter_seed))
        return task.key

    def train(self, tasks: Sequence[TrainTask]) -> list[TrainResult]:
        """Train each client for its batches; the trained adapters and moments are kept under the tasks' keys."""
        return [self._train(task) for task in tasks]

    def aggregate(self, task: AggregateTask) -> str:
        """Make the next global adapter and return its key."""
        updates = [
            Update(adapter=self._states[key].adapter, ranks=self._states[key].ranks, weight=weight)
            for key, weight in zip(task.updates, task.weights, strict=True)
        ]
        self._states[task.key] = State(adapter=RULES[task.rule](self._states[task.base].adapter, updates))
        return task.key

    def evaluate(self, tasks: Sequence[EvalTask]) -> list[EvalResult]:
        """Measure adapters, with all their rows, in the whole model."""
        return [self._evaluate(task) for task in tasks]

    def state(self, key: str) -> Adapter:
        """Return the adapter under a key, at full rank; not a copy."""
        return self._states[key].adapter

    def release(self, live: Iterable[str]) -> None:
        """Forget every state but those named."""
        self._states = {key: self._states[key] for key in dict.fromkeys(live)}

    def export(self, key: str, folder: Path) -> None:
        """Write the adapter under a key as a PEFT folder."""
        self._lora.export(self._states[key].adapter, folder, base_model=self._files.name)

    def _check_recipe(self, recipe: Recipe) -> None:
        if recipe != self._recipe:
            raise ValueError("the task follows another recipe than this trainer")

    def _train(self, task: TrainTask) -> TrainResult:
        self._check_recipe(task.recipe)
        start = self._states[task.adapter].adapter
        before = None if task.moments is None else self._states[task.moments].moments
        parameters = self._lora.put(start, task.ranks)
        client, server = self._split.parts(task.cut)
        training = SplitTraining(
            client,
            server,
            parameters=_by_part(parameters, task.cut),
            moments=before,
            spec=self._recipe.optimizer,
            precision=self._precision,
        )
        batches = [_Tensors.of(batch, self._device) for batch in task.batches]
        self._base.train()
        with self._random_numbers(task):
            losses = [training.step(batch, step) for step, batch in enumerate(batches, task.first_step)]
        self._states[task.key] = State(
            adapter={key: with_rows(start[key], key, trained.detach()) for key, trained in parameters.items()},
            ranks=task.ranks,
            moments=training.moments(start) if self._recipe.optimizer.state == "kept" else None,
        )
        return TrainResult(
            key=task.key,
            losses=tuple(torch.stack(losses).tolist()),  # the only time that the host waits for the device
            num_tokens=sum(batch.num_tokens for batch in task.batches),
        )

    @torch.no_grad()
    def _evaluate(self, task: EvalTask) -> EvalResult:
        self._check_recipe(task.recipe)
        self._lora.put(self._states[task.adapter].adapter)
        self._base.eval()
        loss = torch.zeros((), dtype=torch.float64, device=self._device)
        num_right = torch.zeros((), dtype=torch.int64, device=self._device)
        num_tokens = torch.zeros((), dtype=torch.int64, device=self._device)
        for batch in task.batches:
            tensors = _Tensors.of(batch, self._device)
            targets = next_tokens(tensors.labels, tensors.lengths)
            with self._precision:
                logits = self._base(input_ids=tensors.ids, use_cache=False).logits
            loss += next_token_loss(logits, targets, reduction="sum")
            num_right += (logits.argmax(-1) == targets).sum()
            num_tokens += (targets != IGNORED_LABEL).sum()
        total = int(num_tokens)
        if total == 0:
            raise ValueError("there is no token to predict in the batches to evaluate")
        return EvalResult(
            key=task.key, loss=loss.item() / total, token_accuracy=num_right.item() / total, num_tokens=total
        )

    @contextmanager
    def _random_numbers(self, task: TrainTask) -> Iterator[None]:
        """Let dropout draw from a generator that the task alone decides on; without dropout nothing draws."""
        if self._recipe.dropout == 0:
            yield
            return
        gpus = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            torch.manual_seed(int(task.key[:16], 16))
            yield


class SplitTraining:
    """One client's training: its two parts, an optimizer for each, and the messages between them.

    Args:
        client, server: the parts.
        parameters: those of the client part and those of the server part.
        moments: that the client goes on with; None to start afresh.
        spec: of both optimizers.
        precision: context of each part's computation.
    """

    def __init__(
        self,
        client: ClientPart,
        server: ServerPart,
        *,
        parameters: tuple[Mapping[str, nn.Parameter], Mapping[str, nn.Parameter]],
        moments: Moments | None,
        spec: OptimizerSpec,
        precision: AbstractContextManager[object],
    ) -> None:
        self._client, self._server, self._precision = client, server, precision
        self._client_optimizer, self._server_optimizer = (PartOptimizer(spec, own, moments) for own in parameters)
        self._before = moments
        self._num_steps = 0 if moments is None else moments.num_steps

    def step(self, batch: "_Tensors", step: int) -> Tensor:
        """Train on one batch and return the loss; `step` is the client's place in the learning-rate schedule."""
        with self._precision:
            activations = self._client.forward(batch.ids)
            upload = Upload(activations=activations.detach().float(), labels=batch.labels, lengths=batch.lengths)
            reply = self._server.step(upload)
            self._server_optimizer.step(step)
            self._client.backward(activations, reply.gradients)
            self._client_optimizer.step(step)
        self._num_steps += 1
        return reply.loss

    def moments(self, full: Adapter) -> Moments:
        """Return what the client remembers, at full rank, the shapes of `full`."""
        first, second = self._client_optimizer.moments(full)
        server_first, server_second = self._server_optimizer.moments(full)
        return Moments(first=first | server_first, second=second | server_second, num_steps=self._num_steps)


@dataclass(frozen=True, kw_only=True)
class _Tensors:
    """A batch on the device, int32 as it would travel."""

    ids: Tensor
    labels: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> "_Tensors":
        return cls(
            ids=torch.from_numpy(batch.ids).to(device),
            labels=torch.from_numpy(batch.labels).to(device),
            lengths=torch.from_numpy(batch.lengths).to(device),
        )


def _by_part(
    parameters: Mapping[str, nn.Parameter], cut: int
) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """Return the parameters of blocks 1..cut, which are the client's, and those of the others."""
    client = {key: parameter for key, parameter in parameters.items() if block_of(key) < cut}
    return client, {key: parameter for key, parameter in parameters.items() if key not in client}


def _check(recipe: Recipe, numerics: str) -> None:
    if recipe.dtype not in DTYPES:
        raise ValueError(f"dtype {recipe.dtype!r} cannot be trained in; allowed: {', '.join(DTYPES)}")
    for codec in (recipe.activation_codec, recipe.gradient_codec):
        if codec not in LOSSLESS_CODECS:
            raise ValueError(f"codec {codec!r} cannot be applied; allowed: {', '.join(sorted(LOSSLESS_CODECS))}")
    if recipe.numerics != numerics:
        raise ValueError(f"the recipe is for {recipe.numerics!r}, but this is {numerics!r}")
