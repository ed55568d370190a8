"""Texts as token ids: encoded once, kept by content.

Uses the `tokenizers` library on a tokenizer.json directly: transformers.AutoTokenizer would import torch.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tokenizers

from workloads.array_cache import Arrays, arrays_digest, cached_arrays
from workloads.lengths import MIN_TOKENS
from workloads.texts import DataError, texts_digest

Progress = Callable[[int, int], None]

_TEXTS_PER_CALL = 1024  # large enough to keep the tokenizer's threads busy, small enough for a lively progress bar


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TokenizedDataset:
    """Token ids of all samples, one after another; the arrays are read-only.

    Attributes:
        tokens: int32, the ids of all samples.
        offsets: int64 of shape [n + 1]; sample i is tokens[offsets[i]:offsets[i + 1]].
        digest: SHA-256 of tokens and offsets.
        texts_digest: SHA-256 of the texts they were made from.
        num_truncated: samples cut at the maximum length.
        num_dropped: texts left out because they have fewer than 2 tokens, so that there is nothing to predict.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    digest: str
    texts_digest: str
    num_truncated: int
    num_dropped: int

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.offsets) - 1

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each sample, int32 of shape [n]."""
        lengths = np.diff(self.offsets).astype(np.int32)
        lengths.flags.writeable = False
        return lengths

    def sample(self, index: int) -> np.ndarray:
        """Return the token ids of one sample, int32, without copying."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of a dataset of {len(self)}")
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]


def tokenize(
    texts: Sequence[str],
    tokenizer_file: Path,
    *,
    max_length_tokens: int,
    eos_token_id: int | None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> TokenizedDataset:
    """Return the token ids of each text, kept under the digests of texts, tokenizer and this code.

    A sample is what the tokenizer's own post-processor makes of the text (with a begin-of-text token where the model
    was trained with one), then the end-of-text token unless it is there already, cut at the maximum length: a text that
    was cut did not end.

    Args:
        texts: one per sample.
        tokenizer_file: a tokenizer.json.
        max_length_tokens: longest sample, at least 2.
        eos_token_id: the end-of-text token; None appends nothing.
        cache_dir: where the ids are kept; None keeps nothing.
        progress: called with the number of texts done and of all texts, if there is work to do.

    Raises:
        DataError: if the tokenizer cannot be loaded, lacks the end-of-text token, or every text is too short.
    """
    if max_length_tokens < MIN_TOKENS:
        raise DataError(f"max_length_tokens must be at least {MIN_TOKENS}, got {max_length_tokens}")
    key: dict[str, str | int | None] = {
        "texts": texts_digest(texts),
        "tokenizer": hashlib.sha256(_read_bytes(tokenizer_file)).hexdigest(),
        "tokenizers": tokenizers.__version__,
        "max_length_tokens": max_length_tokens,
        "eos_token_id": eos_token_id,
        "code": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    }

    def encode() -> Arrays:
        tokenizer = _load_tokenizer(tokenizer_file, eos_token_id)
        return _encode(texts, tokenizer, max_length_tokens, eos_token_id, progress)

    arrays = cached_arrays(cache_dir, "tokens", key, encode)
    if not len(arrays["tokens"]):
        raise DataError(
            f"each of the {len(texts)} texts has fewer than {MIN_TOKENS} tokens: there is nothing to predict"
        )
    return _dataset(arrays, str(key["texts"]))


def _dataset(arrays: Arrays, source_digest: str) -> TokenizedDataset:
    tokens, offsets = arrays["tokens"], arrays["offsets"]
    tokens.flags.writeable = offsets.flags.writeable = False
    return TokenizedDataset(
        tokens=tokens,
        offsets=offsets,
        digest=arrays_digest({"tokens": tokens, "offsets": offsets}),
        texts_digest=source_digest,
        num_truncated=int(arrays["num_truncated"][0]),
        num_dropped=int(arrays["num_dropped"][0]),
    )


def _read_bytes(tokenizer_file: Path) -> bytes:
    try:
        return tokenizer_file.read_bytes()
    except OSError as problem:
        raise DataError(f"tokenizer {tokenizer_file} cannot be read: {problem.strerror}") from None


def _load_tokenizer(tokenizer_file: Path, eos_token_id: int | None) -> tokenizers.Tokenizer:
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_file))
    except Exception as problem:  # the library raises nothing narrower
        raise DataError(f"tokenizer {tokenizer_file} is not a tokenizer.json: {problem}") from problem
    if eos_token_id is not None and (eos_token_id < 0 or tokenizer.id_to_token(eos_token_id) is None):
        raise DataError(f"tokenizer {tokenizer_file} has no token {eos_token_id}, the model's end-of-text token")
    # A tokenizer.json may come with limits of its own; ours are the scenario's.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _encode(
    texts: Sequence[str],
    tokenizer: tokenizers.Tokenizer,
    max_length_tokens: int,
    eos_token_id: int | None,
    progress: Progress | None,
) -> Arrays:
    samples: list[np.ndarray] = []
    num_truncated = 0
    for start in range(0, len(texts), _TEXTS_PER_CALL):
        part = texts[start : start + _TEXTS_PER_CALL]
        for encoding in tokenizer.encode_batch_fast(part):
            ids = encoding.ids
            if eos_token_id is not None and ids[-1:] != [eos_token_id]:
                ids.append(eos_token_id)
            num_truncated += len(ids) > max_length_tokens
            if len(ids) >= MIN_TOKENS:
                samples.append(np.array(ids[:max_length_tokens], np.int32))
        if progress:
            progress(start + len(part), len(texts))
    lengths = np.array([len(sample) for sample in samples], np.int64)
    return {
        "tokens": np.concatenate([np.zeros(0, np.int32), *samples]),
        "offsets": np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        "num_truncated": np.array([num_truncated]),
        "num_dropped": np.array([len(texts) - len(samples)]),
    }
