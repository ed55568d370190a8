"""Real split LoRA training: executes the tasks of `workloads.tasks` with torch.

What tasks make, adapters and moments, is kept here under their keys. How the clients of a round are trained is an
executor's.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor

from workloads.aggregate import Update
from workloads.aggregators import BUFFERED
from workloads.agreement import agree
from workloads.batches import IGNORED_LABEL, Batch
from workloads.buffered import buffered
from workloads.codecs import noise, roundtrip
from workloads.engine import Engine, Executor, OnStep, State, Tensors
from workloads.executors import ExecutorName
from workloads.fused import CannotFuseError, Fused
from workloads.interleaved import train_interleaved
from workloads.interleaved_tasks import InterleavedTask
from workloads.loading import ALL_DTYPES, DTYPES
from workloads.lora import Adapter
from workloads.models import ModelFiles
from workloads.numerics import numerics_id
from workloads.results import SavedState
from workloads.rules import Rule, merge
from workloads.sequential import Sequential
from workloads.split import at_least_float32, next_token_loss, next_tokens
from workloads.states import load_state, save_state
from workloads.tasks import (
    LOSSLESS_CODECS,
    RULES_WITH_CLIENT_HEAD,
    AggregateTask,
    EvalResult,
    EvalTask,
    InitialTask,
    Recipe,
    TrainResult,
    TrainTask,
)


class TorchTrainer:
    """Trains, averages and measures adapters of one base model.

    Attributes:
        numerics: names all of the machine and the software that can change a result.
        notes: what a user should know of how it trains, in sentences.

    Args:
        recipe: what all tasks share; its numerics must be those of this machine (`workloads.numerics.numerics_id`).
        model: the base model.
        device: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:1`.
        executor: how the clients of a round are trained, as the recipe's numerics say.
        checkpointing: whether blocks keep their inputs alone for the backward pass and compute the rest again: the same
            numbers in less memory and more time.
        on_step: called with a number of client-steps as they are done; None where nobody watches.
        own_rule: the user's own rule of aggregation; None where tasks name one of ours.

    Raises:
        ValueError: the device or dtype is not available, or the recipe is for another machine.
        UnsupportedModelError: the model cannot be split.
        TargetError: the modules to adapt are not in the model.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: ModelFiles,
        *,
        device: str = "auto",
        executor: ExecutorName = "sequential",
        checkpointing: bool = False,
        on_step: OnStep | None = None,
        own_rule: Rule | None = None,
    ) -> None:
        agree(recipe.numerics, device)
        self.numerics = numerics_id(device, recipe.dtype, executor)
        _check(recipe, self.numerics)
        self._recipe = recipe
        self._engine = Engine(recipe, model, device=device, checkpointing=checkpointing)
        self.notes: tuple[str, ...] = ()
        self._executor = self._make_executor(executor)
        self._on_step = on_step or (lambda _num_steps: None)
        self._own_rule = own_rule
        self._states: dict[str, State] = {}

    def _make_executor(self, name: ExecutorName) -> Executor:
        if name == "fused":
            try:
                return Fused(self._engine)
            except CannotFuseError as error:
                self.notes = (f"clients are trained one after another, because together they cannot be: {error}",)
        return Sequential(self._engine)

    def initial(self, task: InitialTask) -> str:
        """Make the first global adapter and return its key."""
        self._check_recipe(task.recipe)
        self._states[task.key] = State(adapter=self._engine.lora.initial(task.recipe.adapter_seed))
        return task.key

    def train(
        self,
        tasks: Sequence[TrainTask],
        on_result: Callable[[TrainResult], None] = lambda _result: None,
        spent: Collection[str] = (),
    ) -> list[TrainResult]:
        """Train each client for its batches; the trained adapters and moments are kept under the tasks' keys.

        Args:
            tasks: of the clients of a round.
            on_result: called as soon as a task's state is kept.
            spent: states of clients that nobody asks for any more but these tasks, each for the moments that one of
                them goes on with; each is forgotten as soon as it has been used.
        """
        for task in tasks:
            self._check_recipe(task.recipe)
        used = {task.key: task.moments for task in tasks if task.moments is not None and task.moments in spent}
        for key in spent:
            if key in self._states:
                self._states[key] = dataclasses.replace(self._states[key], adapter={})
        results = {}
        interleaved = [task for task in tasks if isinstance(task, InterleavedTask)]
        others = [task for task in tasks if not isinstance(task, InterleavedTask)]
        for state, result in chain(
            train_interleaved(self._engine, interleaved, self._states, self._on_step),
            self._executor.train(others, self._states, self._on_step),
        ):
            self._states[result.key] = state
            results[result.key] = result
            on_result(result)
            self._states.pop(used.get(result.key, ""), None)
        return [results[task.key] for task in tasks]

    def aggregate(self, task: AggregateTask) -> str:
        """Make the next global adapter and return its key."""
        base = self._states[task.base]
        if task.rule == BUFFERED:
            self._states[task.key] = State(adapter=self._buffered(base.adapter, task))
            return task.key
        states = [self._states[key] for key in task.updates]
        trained = task.rows or [state.ranks for state in states]
        updates = [
            Update(adapter=state.adapter, ranks=self._own_rows(task, ranks), weight=weight)
            for state, ranks, weight in zip(states, trained, task.weights, strict=True)
        ]
        adapter, delta = self._merged(task, base, updates)
        self._states[task.key] = State(adapter=adapter, base_delta=delta)
        return task.key

    def _merged(
        self, task: AggregateTask, base: State, updates: Sequence[Update]
    ) -> tuple[Adapter, Mapping[str, Tensor]]:
        if self._own_rule is not None:
            return self._own_rule(base.adapter, updates), base.base_delta
        return merge(task.rule, base.adapter, base.base_delta, updates, lambda: self._restart(task))

    def _buffered(self, base: Adapter, task: AggregateTask) -> Adapter:
        starts, adapters = ([self._states[key].adapter for key in keys] for keys in (task.starts, task.updates))
        return buffered(base, starts, adapters, task.weights)

    def _own_rows(self, task: AggregateTask, trained: tuple[int, ...]) -> tuple[int, ...]:
        """Return how many rows of each block count as a client's own.

        They are those that it has `trained`. Rows that it has computed with are a part of its product, so that every
        rule but `segment`, which averages over those who trained, takes frozen ones too.
        """
        if self._recipe.dormant == "frozen" and task.rule != "segment":
            return (self._recipe.rank,) * len(trained)
        return trained

    def _restart(self, task: AggregateTask) -> Adapter:
        assert task.restart_seed is not None
        return self._engine.lora.initial(task.restart_seed)

    def evaluate(self, tasks: Sequence[EvalTask]) -> list[EvalResult]:
        """Measure global adapters in the whole model, and clients' adapters as these measure them themselves."""
        return [self._evaluate(task) for task in tasks]

    def state(self, key: str) -> Adapter:
        """Return the adapter under a key, at full rank; not a copy."""
        return self._states[key].adapter

    def release(self, live: Iterable[str]) -> None:
        """Forget every state but those named."""
        self._states = {key: self._states[key] for key in dict.fromkeys(live)}

    def get(self, key: str) -> SavedState:
        """Return a state as it can be kept; on a CPU it shares the tensors' memory."""
        return save_state(self._states[key])

    def put(self, key: str, state: SavedState) -> None:
        """Hold a state that was kept."""
        self._states[key] = load_state(State, state, self._engine.device)

    def _check_recipe(self, recipe: Recipe) -> None:
        if recipe != self._recipe:
            raise ValueError("the task follows another recipe than this trainer")

    @torch.no_grad()
    def _evaluate(self, task: EvalTask) -> EvalResult:
        self._check_recipe(task.recipe)
        engine = self._engine
        state = self._states[task.adapter]
        engine.lora.shift_base(self._states[task.start or task.adapter].base_delta)
        engine.lora.put(state.adapter, None if task.cut is None else state.ranks)
        engine.base.eval()
        loss = torch.zeros((), dtype=torch.float64, device=engine.device)
        num_right = torch.zeros((), dtype=torch.int64, device=engine.device)
        num_tokens = torch.zeros((), dtype=torch.int64, device=engine.device)
        for batch in task.batches:
            tensors = Tensors.of(batch, engine.device)
            targets = next_tokens(tensors.labels, tensors.lengths)
            with engine.precision:
                logits = self._logits(task, batch, tensors.ids)
            loss += next_token_loss(logits, targets, reduction="sum")
            num_right += (logits.argmax(-1) == targets).sum()
            num_tokens += (targets != IGNORED_LABEL).sum()
        total = int(num_tokens)
        if total == 0:
            raise ValueError("there is no token to predict in the batches to evaluate")
        return EvalResult(
            key=task.key, loss=loss.item() / total, token_accuracy=num_right.item() / total, num_tokens=total
        )

    def _logits(self, task: EvalTask, batch: Batch, ids: Tensor) -> Tensor:
        """Return the logits, [B, T, V]; of a client's model what is made of the activations that arrive."""
        engine, codec = self._engine, self._recipe.activation_codec.at_inference
        if task.cut is None or codec in LOSSLESS_CODECS:
            logits: Tensor = engine.base(input_ids=ids, use_cache=False).logits
            return logits
        client, server = engine.split.parts(task.cut)
        activations = at_least_float32(client.forward(ids))
        seed = f"{self._recipe.adapter_seed} {batch.digest} validation"
        arrived = roundtrip(activations, codec, noise(codec, activations.shape, seed, engine.device))
        if self._recipe.learning_rule not in RULES_WITH_CLIENT_HEAD:
            return server.logits(arrived)
        hidden = at_least_float32(engine.split.middle(task.cut).forward(arrived))
        at_head = noise(codec, hidden.shape, f"{seed} to_head", engine.device)
        return engine.split.head.logits(roundtrip(hidden, codec, at_head))


def _check(recipe: Recipe, numerics: str) -> None:
    if recipe.dtype not in ALL_DTYPES:
        raise ValueError(f"dtype {recipe.dtype!r} cannot be trained in; allowed: {', '.join(DTYPES)}")
    if recipe.numerics != numerics:
        raise ValueError(f"the recipe is for {recipe.numerics!r}, but this is {numerics!r}")
