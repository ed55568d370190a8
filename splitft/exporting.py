"""`splitft export`: what a run has learned, as an adapter that PEFT loads or as a whole model."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from devices.problems import InputError, Problem
from simulator.records.runs import RunRecords
from splitft.api import load_run, refuse_existing
from splitft.run_folders import find_run
from workloads.export import ADAPTER_CONFIG, BASE_DELTA
from workloads.models import ModelError, ModelFiles, resolve_model


def export_run(name: str, *, merge: bool, out: Path | None) -> None:
    """Write what a run has learned into a folder of its own and say what it is.

    Args:
        name: of the run, as `find_run` takes it.
        merge: write a whole model instead of an adapter.
        out: the folder, which must not exist; by default one in the current folder, named after the run.
    """
    run = load_run(find_run(name))
    assert run.folder is not None
    adapter = run.folder / "adapter"
    if not (adapter / ADAPTER_CONFIG).exists():
        raise InputError(Problem(f"{run.folder} has no adapter: nothing was learned (execution.trainer: cost-only)"))
    target = out or Path(f"{run.folder.resolve().name}-{'merged' if merge else 'adapter'}")
    refuse_existing(target, "an export")
    with _made_whole(target) as folder:
        if merge:
            _merge(run.records, adapter, folder)
        else:
            shutil.copytree(adapter, folder, dirs_exist_ok=True)
    typer.echo(f"{target}: {_what(adapter, merge)}")


def _merge(records: RunRecords, adapter: Path, folder: Path) -> None:
    files = _base_model(adapter)
    if files.model_digest != records.meta["content"]["model"]:
        raise InputError(Problem(f"model {files.name!r} ({files.folder}) is not the one that the run trained"))
    from workloads.merging import write_merged  # imports torch

    try:
        write_merged(files, adapter, folder)
    except ModelError as error:
        raise InputError(Problem(str(error))) from None


def _base_model(adapter: Path) -> ModelFiles:
    settings = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    name, revision = settings["base_model_name_or_path"], settings["revision"]
    try:
        return resolve_model(name if revision is None or "@" in name else f"{name}@{revision}")
    except ModelError as error:
        raise InputError(Problem(str(error))) from None


def _what(adapter: Path, merge: bool) -> str:
    if merge:
        return "a whole model; AutoModelForCausalLM.from_pretrained(folder) loads it"
    usage = "an adapter; PeftModel.from_pretrained(base, folder) loads it"
    if (adapter / BASE_DELTA).exists():
        return f"{usage}, but not {BASE_DELTA}, which belongs to it: --merge adds both to the base model"
    return usage


@contextmanager
def _made_whole(target: Path) -> Iterator[Path]:
    """Give a folder to fill, which gets its name when it is whole; if that fails, nothing is left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield aside
        for path in (aside, *aside.rglob("*")):  # temporary folders, and weights, are written for their owner alone
            path.chmod((0o777 if path.is_dir() else 0o666) & ~_umask())
        aside.rename(target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
