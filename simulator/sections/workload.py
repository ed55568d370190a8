"""The `workload` section of a scenario: what is trained, on what, and how."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from simulator.sections.dataset import Dataset, DatasetSection
from simulator.sections.fields import (
    MAX_COUNT,
    STRICT,
    BelowOne,
    Count,
    NonNegative,
    Part,
    Positive,
    PositivePart,
    Small,
    Text,
    agreeing,
)
from workloads.codec_bytes import Codec, DenseKind, reuses_indices
from workloads.partition import Bins
from workloads.ranks import CutRankSides, Dormant


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimizerSection:
    """How adapters learn, in each part on its own.

    Attributes:
        kind: The update rule.
        learning_rate: At the start of the schedule.
        betas: Decay of the first and second moment.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled (Loshchilov and Hutter 2019).
        schedule: How the learning rate goes down over the run.
        state: Whether a client's moments outlive a round.
        max_grad_norm: Clips the gradient of each part by the part's own norm; None clips nothing.
    """

    kind: Literal["adamw"] = "adamw"
    learning_rate: Positive = 2.0e-3
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    eps: Positive = 1.0e-8
    weight_decay: NonNegative = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    state: Literal["kept", "reset"] = "kept"
    max_grad_norm: Positive | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LoraSection:
    """The adapters.

    Attributes:
        rank: Of every block but those at the cut.
        cut_rank: Of the blocks at the cut.
        cut_rank_sides: Which blocks those are: the client's last, the server's first, both, none.
        dormant: Rows above the rank of a block at the cut: `excluded`, the client does not have them, or `frozen`, it
            computes with them but does not train them.
        alpha: The scale of every row is alpha / rank, whatever the rank at the cut.
        targets: Which linear layers of a block are adapted: a word for any model, or module names as PEFT takes them.
    """

    rank: Count = 16
    cut_rank: Count = 8
    cut_rank_sides: CutRankSides = "both"
    dormant: Dormant = "excluded"
    alpha: Positive = 32.0
    targets: Literal["attention", "mlp", "all-linear"] | Annotated[tuple[Text, ...], Field(min_length=1)] = "attention"

    @model_validator(mode="after")
    def _agree(self) -> Self:
        return agreeing(self, (self.cut_rank > self.rank, "cut_rank", f"must not exceed rank ({self.rank})"))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DenseCodec:
    """A codec that sends something of every value."""

    kind: DenseKind = "fp32"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TopkCodec:
    """Sends the part `frac` of each token's values, those of the largest absolute values, with their indices."""

    kind: Literal["topk"] = "topk"
    frac: PositivePart = 0.1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RandTopkCodec:
    """As topk, but drawn: values that topk would not send share `explore_frac` of the probability (2305.18469)."""

    kind: Literal["randtopk"] = "randtopk"
    frac: PositivePart = 0.1
    explore_frac: Part = 0.1


def _codec(value: object) -> object:
    if isinstance(value, str):
        return {"kind": value}
    if isinstance(value, Mapping | DenseCodec | TopkCodec | RandTopkCodec):
        return value
    raise PydanticCustomError("codec", "expected the name of a codec or a mapping with its kind")


CutCodec = Annotated[
    Annotated[DenseCodec | TopkCodec | RandTopkCodec, Field(discriminator="kind")],
    BeforeValidator(_codec),
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CodecSection:
    """How tensors at the cut are encoded on the wire. In a file or a constructor a word alone is a codec's `kind`.

    Attributes:
        activations: What clients send up.
        gradients: What comes down. Where activations are sparse too, the gradients of the values sent, without indices.
    """

    activations: CutCodec = DenseCodec()
    gradients: CutCodec = DenseCodec()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not reuses_indices(self.up, self.down):
            return self
        message = "must be as for activations, whose indices are used again; or take a codec that is not sparse"
        differing = [name for name in ("kind", "frac") if getattr(self.up, name) != getattr(self.down, name)]
        return agreeing(self, *((True, f"gradients.{name}", message) for name in differing))

    @property
    def up(self) -> Codec:
        """Return the codec of activations."""
        return Codec(**dataclasses.asdict(self.activations))

    @property
    def down(self) -> Codec:
        """Return the codec of gradients."""
        return Codec(**dataclasses.asdict(self.gradients))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LengthDirichletPartition:
    """Clients differ in how long their samples are (SplitFT, arXiv 2604.26388): the smaller `alpha`, the more.

    Attributes:
        kind: Names this partition.
        alpha: Concentration of the Dirichlet distribution.
        num_classes: Classes of token length.
        min_samples: Every client has at least as many.
        bins: Whether classes have equally many samples or equally wide ranges of length.
    """

    kind: Literal["length-dirichlet"] = "length-dirichlet"
    alpha: Positive = 0.5
    num_classes: Count = 8
    min_samples: Count = 8
    bins: Bins = "quantile"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class IidPartition:
    """Clients have equally many samples, dealt at random, and at least `min_samples`."""

    kind: Literal["iid"] = "iid"
    min_samples: Count = 8


@dataclass(frozen=True, kw_only=True, config=STRICT)
class QuantitySkewPartition:
    """Clients differ in how many samples they have, Dirichlet(`alpha`), and have at least `min_samples`."""

    kind: Literal["quantity-skew"] = "quantity-skew"
    alpha: Positive = 0.5
    min_samples: Count = 8


Partition = Annotated[
    LengthDirichletPartition | IidPartition | QuantitySkewPartition,
    Field(discriminator="kind"),
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ValidationSection:
    """What a client keeps of its own samples to measure itself: a part `frac`, at most `max_samples`."""

    frac: Part = 0.05
    max_samples: Count = 8


@dataclass(frozen=True, kw_only=True, config=STRICT)
class WorkloadSection:
    """What is trained, on what, and how.

    Attributes:
        model: A shipped or fetched name, the folder of a Hugging Face model, or org/name[@revision]; for the clock
            alone also a model known by its shape.
        priced_as: The model that the clock charges for, where that is another one: a name of `splitft models list`, or
            the path of a config.json. Cuts stay those of `model`.
        dataset: The text, or the lengths of samples without any.
        dtype: Of weights and computation; `float16` can be timed but not trained.
        max_length_tokens: Longer samples are cut; at least 2, for a token to predict.
        batch_size: Samples a step.
        local_steps: Steps that a client trains in a round.
        length_bucketing: Whether samples of similar lengths share a batch, which leaves less padding to compute.
        gradient_checkpointing: Whether blocks keep their inputs alone for the backward pass and compute the rest again:
            less memory, more work, the same numbers.
        optimizer: How adapters learn.
        dropout: Overrides every dropout of model and adapters.
        lora: The adapters.
        codec: What happens to tensors on the wire.
        partition: Who has which samples.
        validation: What each client keeps to measure itself.
    """

    model: Text = "tiny"
    priced_as: Text | None = None
    dataset: Dataset = DatasetSection(source="pydocs")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    max_length_tokens: Annotated[int, Field(ge=2, le=MAX_COUNT)] = 128
    batch_size: Small = 4
    local_steps: Small = 4
    length_bucketing: bool = False
    gradient_checkpointing: bool = False
    optimizer: OptimizerSection = OptimizerSection()
    dropout: BelowOne = 0.0
    lora: LoraSection = LoraSection()
    codec: CodecSection = CodecSection()
    partition: Partition = LengthDirichletPartition()
    validation: ValidationSection = ValidationSection()
