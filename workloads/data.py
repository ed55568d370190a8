"""Datasets by name: which reader a source takes, and the way from a scenario's section to token ids."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from workloads import pydocs
from workloads.partition import train_validation_split
from workloads.texts import (
    DataError,
    DatasetSpec,
    did_you_mean,
    read_hub,
    read_jsonl,
    read_parquet,
    read_txt,
    split_rows,
)
from workloads.tokenized import Progress, TokenizedDataset, tokenize

__all__ = ["DataError", "DatasetSpec", "TokenizedDataset", "held_out_split", "load_dataset", "load_texts"]

_ALLOWED = "pydocs, a .txt, .jsonl or .parquet file, a folder or Hub id (org/name) for the `datasets` library"
_NAMED = {"pydocs": pydocs.docstrings}
SHIPPED_DATASETS = tuple(_NAMED)
_HUB_ONLY = ("split", "config", "revision")
_READ = frozenset({".txt", ".jsonl", ".parquet"})
_OTHER_FORMATS = frozenset({".arrow", ".csv", ".gz", ".html", ".json", ".md", ".text", ".tsv", ".xml", ".zip", ".zst"})


class HeldOutSplit(NamedTuple):
    """Sample indices for training and for the experimenter's evaluation, both ascending and disjoint."""

    train_ids: np.ndarray
    held_out_ids: np.ndarray


def load_dataset(
    spec: DatasetSpec,
    tokenizer_file: Path,
    *,
    max_length_tokens: int,
    eos_token_id: int | None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> TokenizedDataset:
    """Return the dataset of `spec` as token ids; `tokenize` says how, `load_texts` what can be read.

    Raises:
        DataError: if the texts cannot be read or there are none, or the tokenizer cannot be loaded.
    """
    texts = load_texts(spec, cache_dir)
    try:
        return tokenize(
            texts,
            tokenizer_file,
            max_length_tokens=max_length_tokens,
            eos_token_id=eos_token_id,
            cache_dir=cache_dir,
            progress=progress,
        )
    except DataError as problem:
        raise DataError(f"dataset {spec.source!r}: {problem}") from None


def load_texts(spec: DatasetSpec, cache_dir: Path | None = None) -> list[str]:
    """Return the non-blank texts of a dataset in the order of their source, one per sample.

    `cache_dir` spares `pydocs` the parsing of the standard library; files are read as they are.

    Raises:
        DataError: if the source is unknown, missing, malformed or empty, or a key does not apply to it.
    """
    check_source(spec)
    suffix = Path(spec.source).suffix.lower()
    if spec.source in _NAMED:
        rows = _NAMED[spec.source](cache_dir)
    elif suffix in _READ:
        rows = _read_file(spec, suffix)
    else:
        rows = read_hub(spec)
    texts = split_rows(rows, spec.unit)
    if not texts:
        raise DataError(f"dataset {spec.source!r} is empty: none of its {len(rows)} rows holds text")
    return texts


def check_source(spec: DatasetSpec) -> None:
    """Make sure, without reading it, that a source is of a kind that can be read, and that a file is there.

    Raises:
        DataError: it is not, or a key does not apply to it.
    """
    suffix = Path(spec.source).suffix.lower()
    if spec.source in _NAMED:
        _refuse_keys(spec, "text_column", *_HUB_ONLY)
    elif suffix in _READ:
        _check_file(spec, suffix)
    else:
        _check_hub_source(spec, suffix)


def held_out_split(num_samples: int, frac: float, max_samples: int, rng: np.random.Generator) -> HeldOutSplit:
    """Set samples aside for evaluation: `frac` of them, at most `max_samples`; all the others are for training.

    Raises:
        DataError: if there is no second sample to set aside.
    """
    if num_samples < 2 and frac > 0:
        raise DataError(f"the dataset has {num_samples} sample: nothing to hold out; use more text or a smaller unit")
    return HeldOutSplit(*train_validation_split(np.arange(num_samples), frac, max_samples, rng))


def _check_file(spec: DatasetSpec, suffix: str) -> None:
    path = Path(spec.source).expanduser()
    _refuse_keys(spec, *_HUB_ONLY, *(["text_column"] if suffix == ".txt" else []))
    if not path.is_file():
        folder = path.parent
        beside = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
        raise DataError(f"dataset file {spec.source!r} does not exist{did_you_mean(path.name, beside)}")


def _read_file(spec: DatasetSpec, suffix: str) -> list[str]:
    path = Path(spec.source).expanduser()
    try:
        if suffix == ".txt":
            return read_txt(path)
        return read_jsonl(path, spec.text_column) if suffix == ".jsonl" else read_parquet(path, spec.text_column)
    except OSError as problem:
        raise DataError(f"dataset file {spec.source!r} cannot be read: {problem.strerror or problem}") from None


def _refuse_keys(spec: DatasetSpec, *keys: str) -> None:
    """Refuse keys that would be ignored: whoever set one expects something of it."""
    defaults = {field.name: field.default for field in dataclasses.fields(DatasetSpec)}
    for key in keys:
        value = getattr(spec, key)
        if value != defaults[key]:
            raise DataError(
                f"dataset {spec.source!r}: {key} {value!r} does not apply to this kind of source; remove it"
            )


def _check_hub_source(spec: DatasetSpec, suffix: str) -> None:
    path = Path(spec.source).expanduser()
    if spec.source and path.is_dir():
        return
    if path.is_file() or suffix in _OTHER_FORMATS:
        raise DataError(f"dataset file {spec.source!r}: extension {suffix!r} is not supported (allowed: {_ALLOWED})")
    is_hub_id = spec.source.count("/") == 1 and not spec.source.startswith(("/", ".", "~")) and spec.source[-1] != "/"
    if not is_hub_id:
        raise DataError(f"dataset {spec.source!r} is unknown (allowed: {_ALLOWED}){did_you_mean(spec.source, _NAMED)}")
