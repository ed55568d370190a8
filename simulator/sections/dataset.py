"""The `workload.dataset` section of a scenario: the text that is learned, or how long samples would be without any."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Tag, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from devices.problems import did_you_mean
from simulator.sections.fields import STRICT, Count, Positive, Text, agreeing
from workloads.texts import Unit


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DatasetSection:
    """What is learned from. In a file or a constructor a word alone is the `source`.

    Attributes:
        source: A shipped name, a `.txt`, `.jsonl` or `.parquet` file (relative to the scenario), or a Hub id.
        text_column: Where the text stands in a source with columns.
        unit: What one sample is.
        split: Which split of a Hub dataset.
        config: Which configuration of a Hub dataset.
        revision: Which commit or tag of a Hub dataset.
    """

    source: Text
    text_column: Text = "text"
    unit: Unit = "document"
    split: Text = "train"
    config: Text | None = None
    revision: Text | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LognormalLengths:
    """No text, only samples whose length is log-normal: for the clock alone, and for fleets of any size.

    Attributes:
        source: Says that there is no text.
        distribution: Names this distribution.
        median_tokens: Half of the samples are shorter.
        sigma: Standard deviation of the logarithm of the length.
        samples_per_client: Samples of every client.
    """

    source: Literal["lengths"] = "lengths"
    distribution: Literal["lognormal"] = "lognormal"
    median_tokens: Count = 64
    sigma: Positive = 0.8
    samples_per_client: Count = 64


@dataclass(frozen=True, kw_only=True, config=STRICT)
class UniformLengths:
    """No text, only samples of any length from `min_tokens` to `max_tokens`, each as likely; else as log-normal."""

    source: Literal["lengths"] = "lengths"
    distribution: Literal["uniform"] = "uniform"
    min_tokens: Count = 16
    max_tokens: Count = 128
    samples_per_client: Count = 64

    @model_validator(mode="after")
    def _agree(self) -> Self:
        return agreeing(
            self, (self.min_tokens > self.max_tokens, "min_tokens", f"must not exceed max_tokens ({self.max_tokens})")
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FixedLengths:
    """No text, only samples that are all `tokens` long; else as log-normal."""

    source: Literal["lengths"] = "lengths"
    distribution: Literal["fixed"] = "fixed"
    tokens: Count = 128
    samples_per_client: Count = 64


Lengths = LognormalLengths | UniformLengths | FixedLengths
DISTRIBUTIONS: Mapping[str, type[Lengths]] = {
    "lognormal": LognormalLengths,
    "uniform": UniformLengths,
    "fixed": FixedLengths,
}


def _dataset(value: object) -> object:
    """Return the mapping that a file means: a word is a source, and lengths are log-normal if nothing else is said."""
    if isinstance(value, str):
        value = {"source": value}
    if not isinstance(value, Mapping):
        if isinstance(value, DatasetSection | Lengths):
            return value
        raise PydanticCustomError("dataset", "expected the name of a dataset or a mapping with its source")
    if value.get("source") != "lengths":
        return value
    distribution = value.get("distribution", "lognormal")
    if distribution not in DISTRIBUTIONS:
        allowed = f"{', '.join(DISTRIBUTIONS)}{did_you_mean(str(distribution), DISTRIBUTIONS)}"
        message = "unknown distribution '{word}'; allowed: {allowed}"
        raise PydanticCustomError("distribution", message, {"word": distribution, "allowed": allowed})
    return {**value, "distribution": distribution}


def _member(value: Any) -> str:
    """Return the class that is meant, by its name."""
    if not isinstance(value, Mapping):
        return type(value).__name__
    is_text = value.get("source") != "lengths"
    return (DatasetSection if is_text else DISTRIBUTIONS[value["distribution"]]).__name__


Dataset = Annotated[
    Annotated[DatasetSection, Tag("DatasetSection")]
    | Annotated[LognormalLengths, Tag("LognormalLengths")]
    | Annotated[UniformLengths, Tag("UniformLengths")]
    | Annotated[FixedLengths, Tag("FixedLengths")],
    Discriminator(_member),
    BeforeValidator(_dataset),
]
