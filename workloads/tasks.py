"""Pieces of learning, named by their content.

A task is pure: its result is a function of its fields. Its key is a hash of all that can change the result and of
nothing else, and it names the state that the task makes, so that later tasks refer to states by key. Who does the work,
where, in which round and over which network never enters a key: what was computed once holds for every scenario that
asks for the same. No torch here; `workloads.trainer` executes tasks.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal

from workloads.batches import Batch
from workloads.codec_bytes import FP32, Codec
from workloads.ranks import Dormant

LOSSLESS_CODECS = frozenset({FP32})
RULES_WITH_AUXILIARY_HEAD = frozenset({"local-loss"})
RULES_WITH_CLIENT_HEAD = frozenset({"u-shape"})
RULES_WITH_SHARED_SERVER = frozenset({"sl", "sfl-v2"})  # what is on the server has one optimizer for all clients
RULES_ONE_BY_ONE = RULES_WITH_AUXILIARY_HEAD | RULES_WITH_CLIENT_HEAD | RULES_WITH_SHARED_SERVER


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """How adapters are updated.

    Attributes:
        kind: `adamw` (Loshchilov & Hutter 2019).
        learning_rate, betas, eps, weight_decay: as in the paper.
        schedule: how the learning rate goes from `learning_rate` to 0 over `total_steps`; `constant` does not.
        total_steps: length of the schedule in a client's steps; None with `constant`.
        state: `kept`, a client's moments persist over its tasks, or `reset`, they start at 0 in each.
        max_grad_norm: each part's gradients are scaled down to this norm; None for no clipping.
    """

    kind: Literal["adamw"] = "adamw"
    learning_rate: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    schedule: Literal["constant", "linear", "cosine"]
    total_steps: int | None
    state: Literal["kept", "reset"]
    max_grad_norm: float | None

    def __post_init__(self) -> None:
        """Refuse a schedule without a length."""
        if self.schedule != "constant" and self.total_steps is None:
            raise ValueError(f"schedule {self.schedule!r} needs total_steps")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What all tasks of a run share.

    Attributes:
        model_digest, tokenizer_digest: of the base model (`workloads.models.ModelFiles`).
        dtype: of the base model's weights and of the computation: `float32` or `bfloat16`; adapters are float32.
        targets: names of the adapted linear modules as PEFT takes them, such as `q_proj` or `attn.c_attn`.
        rank: rank R of the global adapter in every block.
        alpha: LoRA's scale is alpha / R for every row, also where a client trains fewer rows.
        adapter_seed: of the initial adapter.
        dropout: probability that replaces every dropout of base model and LoRA.
        activation_codec, gradient_codec: what is sent at the cut, up and down.
        learning_rule: the protocol's, such as `sfl-v1`.
        numerics: names all of the machine and the software that can change a result.
        dormant: what becomes of rows that a client does not train: `excluded`, it does not have them, or `frozen`, it
            computes with them.
        trains_a: whether both factors are trained, or only B (FFA-LoRA, arXiv 2403.12313).
    """

    model_digest: str
    tokenizer_digest: str
    dtype: str
    targets: tuple[str, ...]
    rank: int
    alpha: float
    adapter_seed: int
    optimizer: OptimizerSpec
    dropout: float
    activation_codec: Codec
    gradient_codec: Codec
    learning_rule: str
    numerics: str
    dormant: Dormant = "excluded"
    trains_a: bool = True


def cut_changes_result(recipe: Recipe) -> bool:
    """Return whether training depends on where the model is cut, given the ranks of its blocks.

    It does not in exact split training: the parts compute what the whole model would, and AdamW is elementwise. It does
    where something is done to the tensors at the cut, to each part as a whole, or in an order that the cut decides.
    """
    return (
        not {recipe.activation_codec, recipe.gradient_codec} <= LOSSLESS_CODECS
        or recipe.optimizer.max_grad_norm is not None
        or recipe.dropout > 0
        or recipe.learning_rule in RULES_WITH_AUXILIARY_HEAD | RULES_WITH_SHARED_SERVER
    )


class Task:
    """A piece of work with a key."""

    @property
    def content(self) -> Mapping[str, object]:
        """Return all that can change the result, as plain values."""
        raise NotImplementedError

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the keys of the tasks whose states it starts from."""
        raise NotImplementedError

    @cached_property
    def key(self) -> str:
        """Return the sha256 of the task's kind and content, in hex: the name of its result."""
        text = json.dumps(
            [type(self).__name__, _canonical(self.content)], sort_keys=True, separators=(",", ":"), allow_nan=False
        )
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class InitialTask(Task):
    """Make the adapter that a run starts from: A random, B zero, so that it changes nothing yet."""

    recipe: Recipe

    @property
    def content(self) -> Mapping[str, object]:
        """Return the base model, the adapter's shape and its seed; how it is trained does not matter yet."""
        recipe = self.recipe
        return {
            "model_digest": recipe.model_digest,
            "tokenizer_digest": recipe.tokenizer_digest,
            "targets": sorted(recipe.targets),
            "rank": recipe.rank,
            "adapter_seed": recipe.adapter_seed,
            "numerics": recipe.numerics,
        }

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return none: it starts from the base model."""
        return ()


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainTask(Task):
    """Train one client for one round.

    Attributes:
        adapter: key of the global adapter that it starts from.
        moments: key of this client's previous `TrainTask`, whose optimizer moments it goes on with; None to start
            afresh.
        first_step: how many steps this client has taken before; its place in the learning-rate schedule and in the
            random numbers of codecs.
        batches: one for each local step, in order.
        ranks: rank that each block is trained at, at most `recipe.rank`; higher rows are dormant.
        cut: how many blocks the client holds.
        group: names the tasks that it is trained together with (`workloads.grouping`); None where it is trained alone.
    """

    recipe: Recipe
    adapter: str
    moments: str | None
    first_step: int
    batches: tuple[Batch, ...]
    ranks: tuple[int, ...]
    cut: int
    group: str | None = None

    def __post_init__(self) -> None:
        """Refuse moments that the recipe says are not kept."""
        if self.moments is not None and self.recipe.optimizer.state == "reset":
            raise ValueError("a task with optimizer state 'reset' cannot go on with earlier moments")

    @property
    def content(self) -> Mapping[str, object]:
        """Return everything, but the cut and the place in the schedule only where they matter."""
        recipe = asdict(self.recipe) | {"targets": sorted(self.recipe.targets)}
        scheduled = self.recipe.optimizer.schedule != "constant"
        if not scheduled:
            recipe["optimizer"]["total_steps"] = None
        if min(self.ranks) == self.recipe.rank:
            recipe["dormant"] = None  # no row is
        codecs = (self.recipe.activation_codec, self.recipe.gradient_codec)
        counts_steps = scheduled or any(codec.is_stochastic for codec in codecs)  # their noise is the step's
        return {
            "recipe": recipe,
            "adapter": self.adapter,
            "moments": self.moments,
            "first_step": self.first_step if counts_steps else None,
            "batches": [batch.digest for batch in self.batches],
            "ranks": self.ranks,
            "cut": self.cut if cut_changes_result(self.recipe) else None,
            "group": self.group,
        }

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the adapter and, where they go on, the moments."""
        return (self.adapter,) if self.moments is None else (self.adapter, self.moments)


@dataclass(frozen=True, kw_only=True, eq=False)
class AggregateTask(Task):
    """Make the next global adapter of what clients have trained.

    Attributes:
        rule: name of the rule in `workloads.aggregate`.
        base: key of the global adapter that the clients started from.
        updates: keys of the clients' `TrainTask`s.
        weights: share of each update; they need not sum to 1.
        restart_seed: of the adapter that follows, for a rule that starts a new one after each round; else None.
        starts: for a rule that adds differences, keys of the global adapters that the updates started from.
        rows: of each update's blocks that count as its own, where they are not those that its client has trained.
    """

    recipe: Recipe
    rule: str
    base: str
    updates: tuple[str, ...]
    weights: tuple[float, ...]
    restart_seed: int | None = None
    starts: tuple[str, ...] = ()
    rows: tuple[tuple[int, ...], ...] = ()

    @property
    def content(self) -> Mapping[str, object]:
        """Return the rule and its inputs; their keys already hold the recipe, and that of an update its start."""
        rows = {"rows": self.rows} if self.rows else {}
        return rows | {
            "rule": self.rule,
            "base": self.base,
            "updates": self.updates,
            "weights": self.weights,
            "restart_seed": self.restart_seed,
        }

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the adapter before the round and what the clients made of it."""
        return (self.base, *self.updates, *self.starts)


@dataclass(frozen=True, kw_only=True, eq=False)
class EvalTask(Task):
    """Measure an adapter on batches that it is not trained on.

    Attributes:
        adapter: key of the adapter: of an `InitialTask`, a `TrainTask` or an `AggregateTask`.
        batches: what to measure on.
        start: for the adapter of a `TrainTask`, key of the global adapter that it was trained from, whose delta of the
            base model it needs; None for a global adapter, which has its own.
        cut: for the adapter of a `TrainTask`, that of the client, which measures as it trains: with the rows that it
            has, and with what its codec leaves of the activations. None measures the whole model with all rows.
    """

    recipe: Recipe
    adapter: str
    batches: tuple[Batch, ...]
    start: str | None = None
    cut: int | None = None

    @property
    def content(self) -> Mapping[str, object]:
        """Return what the forward pass depends on beyond what the adapter's key already holds."""
        is_lossy = self.cut is not None and self.recipe.activation_codec not in LOSSLESS_CODECS
        return {
            "adapter": self.adapter,
            "batches": [batch.digest for batch in self.batches],
            "start": self.start,
            "as_client": self.cut is not None,
            "at_cut": [self.cut, asdict(self.recipe.activation_codec), self.recipe.adapter_seed] if is_lossy else None,
            "dtype": self.recipe.dtype,
            "alpha": self.recipe.alpha,
        }

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the adapter and, where that is not its own, the state with the base model's delta."""
        return (self.adapter,) if self.start is None else (self.adapter, self.start)


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What training reports.

    Attributes:
        key: of the task; names the trained adapter and the moments.
        losses: mean loss in nats of each step, before its update.
        num_tokens: real tokens trained on.
    """

    key: str
    losses: tuple[float, ...]
    num_tokens: int


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """What measuring reports.

    Attributes:
        key: of the task.
        loss: mean loss in nats over all predicted tokens.
        token_accuracy: share of predicted tokens whose most likely token is right, in [0, 1].
        num_tokens: predicted tokens.
    """

    key: str
    loss: float
    token_accuracy: float
    num_tokens: int


def _canonical(value: object) -> object:
    """Return a value such that equal numbers are written alike: 1.0 as 1."""
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
