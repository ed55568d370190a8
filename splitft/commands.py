"""What the commands do: everything that needs more than a name."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from devices.problems import InputError, Problem
from simulator.records.runs import read_meta
from simulator.scenario import Scenario
from simulator.setting import Setting, resolve
from splitft.api import load_run, open_interrupted, refuse_existing, run_setting, told_to_users
from splitft.checking import check_json, check_tables
from splitft.closing import closing_table
from splitft.engines import Spread, spread_by
from splitft.finished import Run
from splitft.progress import RunProgress
from splitft.replaying import replay_into, replay_setting
from splitft.run_folders import find_run, find_study, is_finished, next_folder, work_into
from splitft.show import console
from splitft.work import Watch

USES = {"device": "fleet.clients.0.device", "network": "fleet.clients.0.network", "fleet": "fleet.mixture"}
"""Keys of a scenario under which a file of the user's is used, by what it states."""


def run_scenario(
    source: str,
    overrides: Sequence[str],
    *,
    out: Path | None,
    catalogue: Sequence[Path],
    as_json: bool,
    quiet: bool,
    engine: str = "local",
    jobs: int | None = None,
) -> None:
    """Run a scenario into a folder and print how it ended."""
    spread = spread_by(engine, jobs)
    scenario = Scenario.load(source, overrides)
    refuse_existing(next_folder(scenario.name) if out is None else out)
    with RunProgress(scenario, shown=not (quiet or as_json)) as progress:
        setting = resolve(scenario, catalogue=catalogue, on_tokens=progress.on_tokens)
        _tell(setting, quiet or as_json)
        run, folder = _run_into(out, setting, catalogue, _watch(progress, setting), spread)
    _close(run, setting, folder, as_json=as_json, quiet=quiet)


def _run_into(
    out: Path | None, setting: Setting, catalogue: Sequence[Path], watch: Watch, spread: Spread | None
) -> tuple[Run, Path]:
    """Run into a folder, and say how to go on where that ends early."""

    def work(folder: Path) -> Run:
        with _saying_how_to_go_on(folder):
            return run_setting(setting, folder, catalogue=catalogue, watch=watch, spread=spread)

    return work_into(out, setting.scenario.name, work)


def resume_run(name: str, *, as_json: bool, quiet: bool, engine: str = "local", jobs: int | None = None) -> None:
    """Go on with a run that was interrupted and print how it ended; say so where there is nothing to do."""
    spread = spread_by(engine, jobs)
    if (study := find_study(name)) is not None:
        raise InputError(Problem(f"{study} is a study; go on with: splitft sweep {study}", value=name))
    folder = find_run(name)
    if is_finished(folder):
        if as_json:
            _print_summary(load_run(folder), folder)
        elif not quiet:
            typer.echo(f"{folder} is finished: there is nothing to resume.")
        return
    with open_interrupted(folder) as interrupted:
        shown = not (quiet or as_json)
        with _saying_how_to_go_on(folder), RunProgress(interrupted.scenario, shown=shown) as progress:
            setting = interrupted.resolve(progress.on_tokens)
            _tell(setting, quiet or as_json)
            run = interrupted.go_on(setting, _watch(progress, setting), spread=spread)
    _close(run, setting, folder, as_json=as_json, quiet=quiet)


def replay_run(name: str, overrides: Sequence[str], *, out: Path | None, as_json: bool, quiet: bool) -> None:
    """Price a finished run with something changed and print how it comes out."""
    run = find_run(name)
    setting, origin = replay_setting(run, overrides)
    with RunProgress(setting.scenario, shown=not (quiet or as_json)) as progress:
        _tell(setting, quiet or as_json)
        watch = _watch(progress, setting)
        replayed, folder = work_into(
            out, setting.scenario.name, lambda folder: replay_into(folder, run, setting, origin, watch=watch)
        )
    _close(replayed, setting, folder, as_json=as_json, quiet=quiet)


def check_scenario(source: str, overrides: Sequence[str], *, catalogue: Sequence[Path], as_json: bool) -> None:
    """Print what a scenario resolves to and what it would cost; run nothing.

    Raises:
        InputError: the scenario cannot be run; where it is memory that does not suffice, this has been printed before.
    """
    scenario = Scenario.load(source, overrides)
    setting = resolve(scenario, catalogue=catalogue, must_fit=False)
    if as_json:
        typer.echo(json.dumps(check_json(setting), indent=2, ensure_ascii=False))
    else:
        _tell(setting, quiet=False)
        for part in check_tables(setting):
            console().print(part)
    with scenario.placing_problems():  # what does not fit is told below the tables that say why
        setting.fit.check()


def new_file(kind: str, name: str) -> None:
    """Write a template into the current folder, over nothing."""
    from devices.catalogue.own_files import template as profile_template
    from simulator.scenario import template as scenario_template
    from simulator.study import template as study_template

    templates = {"scenario": scenario_template, "study": study_template}
    text = templates[kind](name) if kind in templates else profile_template(kind, name, others=tuple(templates))
    path = Path(f"{name}.yaml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        reason = "exists" if isinstance(error, FileExistsError) else error.strerror
        raise InputError(Problem(f"cannot be written: {reason}", file=str(path))) from None
    command = {"scenario": "run", "study": "sweep"}.get(kind, f"{kind}s check")
    typer.echo(f"Wrote {path}. Edit it, then: splitft {command} {path}")
    if kind in USES:
        typer.echo(
            f"Use it: --catalogue . --set {USES[kind]}={name} (a scenario's file beside it needs no --catalogue)"
        )


def _close(run: Run, setting: Setting, folder: Path, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        _print_summary(run, folder)
    elif not quiet:
        console().print(closing_table(run, setting))
        console().print(f"Run folder: {folder}    Pictures: {folder / 'plots'}", soft_wrap=True)


def _print_summary(run: Run, folder: Path) -> None:
    told = {"folder": str(folder), "notes": list(run.notes), **run.summary.to_json()}
    typer.echo(json.dumps(told, indent=2, ensure_ascii=False))


@contextmanager
def _saying_how_to_go_on(folder: Path) -> Iterator[None]:
    """Where a run stops early and has left a folder, say how to go on with it."""
    try:
        yield
    except InputError as error:
        if (folder / "run.json").exists() and {problem.key for problem in error.problems} & _own_code(folder):
            what_now = "a resume would refuse other code: mend it, then start a new run"
            typer.echo(f"{folder} keeps what was done until the code failed; {what_now}", err=True)
        raise
    except BaseException:
        if (folder / "run.json").exists():
            typer.echo(f"{folder} keeps what was done; go on with: splitft resume {folder}", err=True)
        raise


def _own_code(folder: Path) -> set[str]:
    """Return the keys under which a run names the user's own code."""
    with told_to_users():
        return set(read_meta(folder)["content"].get("own_code", ()))


def _watch(progress: RunProgress, setting: Setting) -> Watch:
    progress.expect(setting)
    return Watch(on_progress=progress.on_round, on_step=progress.on_step, on_note=progress.on_note)


def _tell(setting: Setting, quiet: bool) -> None:
    if not quiet:
        for note in setting.notes:
            console(to_stderr=True).print(f"note: {note}", soft_wrap=True)
