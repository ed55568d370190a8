"""What the commands on studies do."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from devices.problems import InputError, Problem
from simulator.overrides import parse_overrides
from simulator.records.studies import is_study
from simulator.study import Study, load_study, quick_study
from simulator.vary import parse_vary
from splitft.engines import engine_named
from splitft.options import OUT
from splitft.run_folders import STUDIES, find_study, work_into
from splitft.show import console
from splitft.studies import Settings, SweptStudy, begin_sweep, resume_sweep
from splitft.study_closing import study_table
from splitft.study_progress import StudyProgress


def sweep_study(
    source: str | None,
    *,
    base: str | None,
    vary: Sequence[str],
    overrides: Sequence[str],
    seeds: int | None,
    out: Path | None,
    catalogue: Sequence[Path],
    jobs: int | None,
    engine: str,
    plots: bool,
    retry_failed: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run a study, or go on with one whose folder is named; print how it ended, and return the exit code."""
    begun = None if source is None else find_study(source)
    with StudyProgress(shown=not (quiet or as_json)) as progress:
        settings = Settings(
            jobs=jobs,
            engine=engine_named(engine),
            plots=plots,
            retry_failed=retry_failed,
            on_check=progress.on_check,
            on_start=progress.on_start,
            on_news=progress.on_news,
        )
        if begun is not None:
            _refuse_changes(base, vary, overrides, seeds, out, catalogue)
            folder = begun
            swept = _told(folder, lambda: resume_sweep(folder, settings))
        else:
            study = _asked(source, base, vary, overrides, seeds)
            swept, folder = _begun(study, out, catalogue, settings)
    return close(swept, folder, as_json=as_json, quiet=quiet)


def _begun(study: Study, out: Path | None, catalogue: Sequence[Path], settings: Settings) -> tuple[SweptStudy, Path]:
    """Sweep into a folder, or into the next one that nobody else takes in the same moment."""
    if out is not None and is_study(out):
        raise InputError(Problem(f"{out} holds a study already; go on with it by: splitft sweep {out}", key=OUT))

    def work(folder: Path) -> SweptStudy:
        return _told(folder, lambda: begin_sweep(study, folder, catalogue, settings))

    return work_into(out, study.name, work, home=STUDIES)


def close(swept: SweptStudy, folder: Path, *, as_json: bool, quiet: bool) -> int:
    """Print how a sweep ended; return 1 where a case failed, else 0."""
    failures = swept.failures
    if as_json:
        rows = [{name: _known(cell) for name, cell in row.items()} for row in swept.frame().to_dict("records")]
        told = {"folder": str(folder), "cases": rows, "failures": failures}
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False))
    elif not quiet:
        console().print(study_table(swept))
        console().print(f"Study folder: {folder}    Tables and pictures: splitft table|plot {folder}", soft_wrap=True)
    for case, error in failures.items():
        typer.echo(f"error: case {case} failed: {error}", err=True)
    if failures:
        typer.echo(f"run them again with: splitft sweep {folder} --retry-failed", err=True)
    return 1 if failures else 0


def _known(cell: Any) -> Any:
    """Return a cell in full, or None where it is no number that JSON has."""
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _asked(
    source: str | None, base: str | None, vary: Sequence[str], overrides: Sequence[str], seeds: int | None
) -> Study:
    """Return the study that the command line asks for."""
    changes: dict[str, Any] = {".".join(override.path): override.value for override in parse_overrides(overrides)}
    if source is None:
        if base is None:
            raise InputError(Problem("name a study, or a scenario with --base and what is varied with --vary"))
        return quick_study(base, parse_vary(vary), seeds=1 if seeds is None else seeds, set=changes)
    given = {"--base": base, "--vary": vary or None, "--seeds": seeds}
    problems = [
        Problem("a study's file says this already; change it there", key=option)
        for option, value in given.items()
        if value is not None
    ]
    if problems:
        raise InputError(*problems)
    return load_study(source, changes)


def _refuse_changes(*given: object) -> None:
    if any(given):
        raise InputError(
            Problem("a study that was begun goes on as it is: only --jobs, --engine, --plots and --retry-failed apply")
        )


def _told(folder: Path, sweep: Callable[[], SweptStudy]) -> SweptStudy:
    """Where a sweep stops early and has left a folder, say how to go on with it."""
    try:
        return sweep()
    except InputError:
        raise
    except BaseException:
        if is_study(folder):
            typer.echo(f"{folder} keeps what was done; go on with: splitft sweep {folder}", err=True)
        raise
