"""Find a base model by name, folder or Hub id, and say exactly which bytes it is.

Only `safetensors` weights and JSON are ever read: no pickle, no code that comes with a model. No torch here.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import platformdirs

from workloads.fetchable import FETCHABLE
from workloads.safe_folder import index_files, problem_with

SHIPPED_MODELS = Path(__file__).parent / "assets"
FETCHED_MODELS = platformdirs.user_cache_path("splitft") / "models"

_CHUNK_BYTES = 1 << 20
_BARE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_HUB_FILES = ["config.json", "tokenizer.json", "*.safetensors", "*.safetensors.index.json"]
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


class ModelError(ValueError):
    """A model cannot be found or must not be used; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A base model on this machine.

    Attributes:
        name: what the user called it.
        address: by which it is found from any folder: a name, a Hub id, or the whole path of a folder.
        folder: where its files are.
        config: the content of its config.json.
        revision: the Hub commit that it was downloaded from; None for other models.
    """

    name: str
    address: str
    folder: Path
    config: dict[str, Any]
    revision: str | None = None

    @property
    def tokenizer_file(self) -> Path:
        """Return the file that the `tokenizers` library reads."""
        return self.folder / "tokenizer.json"

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """Return the safetensors files in name order."""
        return tuple(sorted(self.folder.glob("*.safetensors")))

    @cached_property
    def config_digest(self) -> str:
        """Return the sha256 of config.json in hex."""
        return _digest([self.folder / "config.json"])

    @cached_property
    def weights_digest(self) -> str:
        """Return the sha256 of all weights in hex, and of what says which is where; reads them once, about 1 s/GB."""
        return _digest([*self.weight_files, *index_files(self.folder)])

    @cached_property
    def model_digest(self) -> str:
        """Return the sha256 in hex of architecture and weights together."""
        return hashlib.sha256(f"{self.config_digest} {self.weights_digest}".encode()).hexdigest()

    @cached_property
    def tokenizer_digest(self) -> str:
        """Return the sha256 of tokenizer.json in hex."""
        return _digest([self.tokenizer_file])


def resolve_model(name: str, *, search: Sequence[Path] = (SHIPPED_MODELS, FETCHED_MODELS)) -> ModelFiles:
    """Return the files of a model.

    Args:
        name: a shipped or fetched model's name, the folder of a Hugging Face model, or `org/name[@revision]` on the
            Hugging Face Hub. Only a Hub id uses the network, and only when the model is not yet in its cache.
        search: folders that hold models by name.

    Raises:
        ModelError: there is no such model, it is not reachable, or its files are not safe to read.
    """
    for folder in search:
        if _BARE_NAME.fullmatch(name) and (folder / name).is_dir():
            return _model_files(name, name, folder / name)
    if name in FETCHABLE:  # not a folder that happens to have this name; `./name` is one
        raise ModelError(_unknown(name, search))
    if Path(name).expanduser().is_dir():
        folder = Path(name).expanduser().resolve()
        return _model_files(name, str(folder), folder)
    if (hub_id := _HUB_ID.fullmatch(name)) and not name.startswith("."):
        return _from_hub(name, hub_id["repo"], hub_id["revision"])
    if "/" in name or name.startswith(("~", ".")):
        raise ModelError(f"model {name!r}: no such folder")
    raise ModelError(_unknown(name, search))


def model_names(search: Sequence[Path] = (SHIPPED_MODELS, FETCHED_MODELS)) -> tuple[str, ...]:
    """Return the names of all shipped and fetched models in order."""
    return tuple(sorted({config.parent.name for folder in search for config in folder.glob("*/config.json")}))


def _unknown(name: str, search: Sequence[Path]) -> str:
    if name in FETCHABLE:
        size_mb = FETCHABLE[name].download_bytes / 1e6
        return f"model {name!r} is not on this machine yet; `splitft models fetch {name}` gets it ({size_mb:.0f} MB)"
    known = model_names(search)
    to_fetch = [other for other in FETCHABLE if other not in known]
    close = difflib.get_close_matches(name, [*known, *to_fetch], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    fetched = f"`splitft models fetch` gets {', '.join(to_fetch)}. " if to_fetch else ""
    return (
        f"unknown model {name!r}{hint} Known here: {', '.join(known) or 'none'}. {fetched}"
        "A folder with config.json, tokenizer.json and safetensors weights, or a Hub id (org/name), works too."
    )


def _model_files(name: str, address: str, folder: Path, revision: str | None = None) -> ModelFiles:
    if not any(folder.glob("*.safetensors")):
        raise ModelError(_without_weights(name, folder))
    for needed in ("config.json", "tokenizer.json"):
        if not (folder / needed).is_file():
            raise ModelError(f"model {name!r}: {folder} has no {needed}")
    for weights in sorted(folder.glob("*.safetensors")):
        if not weights.is_file():
            raise ModelError(f"model {name!r}: {weights} is no file: a broken link, a folder or a device")
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"model {name!r}: {folder / 'config.json'} is not JSON: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelError(f"model {name!r}: {folder / 'config.json'} names no model_type")
    if (problem := problem_with(folder, config)) is not None:
        raise ModelError(f"model {name!r}: {folder} cannot be used: {problem}")
    return ModelFiles(name=name, address=address, folder=folder, config=config, revision=revision)


def _without_weights(name: str, folder: Path) -> str:
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if not pickles:
        return f"model {name!r}: {folder} holds no *.safetensors weights (pickled ones are never read)"
    convert = (
        f"from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; old, new = {str(folder)!r}, "
        f"{f'{folder}-safetensors'!r}; M.from_pretrained(old).save_pretrained(new); "
        "T.from_pretrained(old).save_pretrained(new)"
    )
    return (
        f"model {name!r}: {folder} holds its weights as a pickle ({pickles[0]}), which can run code when it is loaded. "
        f'If you trust it, convert it once:\n    python -c "{convert}"'
    )


def _from_hub(name: str, repo: str, revision: str | None) -> ModelFiles:
    import huggingface_hub  # noqa: PLC0415 -- only a Hub id needs it

    try:
        folder = huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=_HUB_FILES)
    except (OSError, ValueError) as error:  # not found, no access, no network, not an id: all of the Hub's errors
        raise ModelError(
            f"model {name!r}: neither a folder here nor to be had from the Hugging Face Hub: {_first_line(error)}"
        ) from error
    commit = Path(folder).name  # of a snapshot
    return _model_files(name, name, Path(folder), revision=commit)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _digest(files: Iterable[Path]) -> str:
    """Return the sha256 over the content of files one after another, each preceded by its name and size."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()
