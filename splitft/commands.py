"""What the commands do: everything that needs more than a name."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import typer

from devices.problems import InputError, Problem
from simulator.scenario import Scenario
from simulator.setting import Setting, resolve
from splitft.api import refuse_existing, run_setting
from splitft.checking import check_json, check_tables
from splitft.closing import closing_table
from splitft.progress import RunProgress
from splitft.show import console

RUNS = Path("runs")


def run_scenario(
    source: str, overrides: Sequence[str], *, out: Path | None, catalogue: Sequence[Path], as_json: bool, quiet: bool
) -> None:
    """Run a scenario into a folder and print how it ended."""
    scenario = Scenario.load(source, overrides)
    folder = next_folder(scenario.name) if out is None else out
    refuse_existing(folder)
    with RunProgress(scenario, shown=not (quiet or as_json)) as progress:
        setting = resolve(scenario, catalogue=catalogue, on_tokens=progress.on_tokens)
        _tell(setting, quiet or as_json)
        run = run_setting(setting, folder, on_progress=progress.on_round)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), **run.summary.to_json()}, indent=2, ensure_ascii=False))
    elif not quiet:
        console().print(closing_table(run, setting))
        console().print(f"Run folder: {folder}    Pictures: {folder / 'plots'}", soft_wrap=True)


def check_scenario(source: str, overrides: Sequence[str], *, catalogue: Sequence[Path], as_json: bool) -> None:
    """Print what a scenario resolves to and what it would cost; run nothing."""
    setting = resolve(Scenario.load(source, overrides), catalogue=catalogue)
    if as_json:
        typer.echo(json.dumps(check_json(setting), indent=2, ensure_ascii=False))
        return
    _tell(setting, quiet=False)
    for part in check_tables(setting):
        console().print(part)


def new_file(kind: str, name: str) -> None:
    """Write a template into the current folder, over nothing."""
    from devices.catalogue.own_files import template as profile_template
    from simulator.scenario import template as scenario_template

    text = scenario_template(name) if kind == "scenario" else profile_template(kind, name)
    path = Path(f"{name}.yaml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        reason = "exists" if isinstance(error, FileExistsError) else error.strerror
        raise InputError(Problem(f"cannot be written: {reason}", file=str(path))) from None
    command = f"splitft run {path}" if kind == "scenario" else f"splitft devices check {path}"
    typer.echo(f"Wrote {path}. Edit it, then: {command}")


def next_folder(name: str, runs: Path = RUNS) -> Path:
    """Return `runs/<name>-NNN` with the number after the highest there is."""
    numbered = re.compile(rf"{re.escape(name)}-(\d+)")
    taken = [int(match[1]) for path in runs.glob(f"{name}-*") if (match := numbered.fullmatch(path.name))]
    return runs / f"{name}-{max(taken, default=0) + 1:03d}"


def _tell(setting: Setting, quiet: bool) -> None:
    if not quiet:
        for note in setting.notes:
            console(to_stderr=True).print(f"note: {note}", soft_wrap=True)
