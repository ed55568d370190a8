"""The command line: exit 0; 1 when a run failed; 2 for bad input; 130 when interrupted; never a traceback.

Commands import what they need when they are called, so that `splitft --help` and the lists start at once.
"""

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import splitft
from devices.problems import FULL_DISK, InputError, Problem, shown
from simulator.engines.lost import LostError
from splitft.caching import cache_app
from splitft.listing import devices_app, fleets_app, networks_app, scenarios_app
from splitft.model_listing import models_app
from splitft.options import OUT, naming_options
from splitft.study_cli import compare_command, plot_command, studies_app, sweep_command, table_command


class Interrupted(Exception):  # noqa: N818 - no error
    """The user has interrupted a command."""


class Commands(TyperGroup):
    """All commands. Typer would end an interrupted one without a word."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error


app = typer.Typer(
    cls=Commands,
    name="splitft",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(scenarios_app, name="scenarios")
app.add_typer(devices_app, name="devices")
app.add_typer(networks_app, name="networks")
app.add_typer(fleets_app, name="fleets")
app.add_typer(models_app, name="models")
app.add_typer(cache_app, name="cache")
app.add_typer(studies_app, name="studies")
app.command("sweep")(sweep_command)
app.command("compare")(compare_command)
app.command("table")(table_command)
app.command("plot")(plot_command)

ScenarioArgument = Annotated[str, typer.Argument(help="A shipped scenario (`splitft scenarios list`) or a YAML file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in policy.kind=fixed.")
]
CatalogueOption = Annotated[
    list[Path] | None, typer.Option("--catalogue", metavar="DIR", help="A folder with your own devices and networks.")
]


def _version(asked: bool) -> None:
    """Print the version and end, where it was asked for."""
    if asked:
        typer.echo(f"splitft {splitft.__version__}")
        raise typer.Exit


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Real split LoRA fine-tuning under a simulated clock: what would it take on these devices and networks?"""


def _folder(text: str) -> Path:
    """Return the folder that an option names."""
    if not text.strip():
        raise InputError(Problem(f"expected the name of a folder to make, got {text!r}", key=OUT))
    return Path(text)


SummaryOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
EngineOption = Annotated[
    str, typer.Option("--engine", help="local, or ray: workers of a Ray cluster divide the clients of a round.")
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", min=1, help="With ray: how many workers; default: as many as there is room for.")
]


@app.command("run")
def run_command(  # noqa: PLR0917 - options
    scenario: ScenarioArgument = "quickstart",
    set_: SetOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", parser=_folder, help="The run folder; default runs/<name>-NNN."),
    ] = None,
    trainer: Annotated[str | None, typer.Option("--trainer", help="torch or cost-only.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = None,
    memo: Annotated[
        bool | None, typer.Option("--memo/--no-memo", help="Take work from earlier runs where it is the same.")
    ] = None,
    engine: EngineOption = "local",
    jobs: JobsOption = None,
    catalogue: CatalogueOption = None,
    json_: SummaryOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a scenario: train for real, take the time that the devices would have taken."""
    from splitft.commands import run_scenario

    given = {"trainer": trainer, "device": device, "memo": None if memo is None else str(memo).lower()}
    options = {option: value for option, value in given.items() if value is not None}
    with naming_options({f"execution.{option}": f"--{option}" for option in options}):
        run_scenario(
            scenario,
            [*(set_ or []), *(f"execution.{option}={value}" for option, value in options.items())],
            out=out,
            catalogue=catalogue or [],
            as_json=json_,
            quiet=quiet,
            engine=engine,
            jobs=jobs,
        )


@app.command("resume")
def resume_command(
    run: Annotated[str, typer.Argument(help="A run folder, its name in runs/, or `last`.")],
    engine: EngineOption = "local",
    jobs: JobsOption = None,
    json_: SummaryOption = False,
    quiet: QuietOption = False,
) -> None:
    """Go on with a run that was interrupted, to the same end as if it had not been."""
    from splitft.commands import resume_run

    resume_run(run, as_json=json_, quiet=quiet, engine=engine, jobs=jobs)


@app.command("replay")
def replay_command(
    run: Annotated[str, typer.Argument(help="A finished run's folder, its name in runs/, or `last`.")],
    set_: SetOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The run folder; default runs/<name>-NNN.")
    ] = None,
    json_: SummaryOption = False,
    quiet: QuietOption = False,
) -> None:
    """Price a finished run on another fleet, network or server without training; refused where its plans change."""
    from splitft.commands import replay_run

    replay_run(run, set_ or [], out=out, as_json=json_, quiet=quiet)


@app.command("check")
def check_command(
    scenario: ScenarioArgument = "quickstart",
    set_: SetOption = None,
    catalogue: CatalogueOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Check a scenario and show what it resolves to, with memory and predicted seconds and bytes; runs nothing."""
    from splitft.commands import check_scenario

    check_scenario(scenario, set_ or [], catalogue=catalogue or [], as_json=json_)


@app.command("export")
def export_command(
    run: Annotated[str, typer.Argument(help="A run folder, its name in runs/, or `last`.")],
    merge: Annotated[bool, typer.Option("--merge", help="Write a whole model instead of an adapter.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", parser=_folder, help="Where to; default <run>-adapter or <run>-merged."),
    ] = None,
) -> None:
    """Write what a run has learned: an adapter for PEFT, or the base model with the adapter in its weights."""
    from splitft.exporting import export_run

    export_run(run, merge=merge, out=out)


@app.command("trace")
def trace_command(
    run: Annotated[str, typer.Argument(help="A finished run's folder, its name in runs/, or `last`.")],
    rounds: Annotated[
        str | None, typer.Option("--rounds", metavar="N|N-M", help="Only these rounds, as in 2 or 3-5.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Where to, plain or .gz; default <run>.trace.json.gz."),
    ] = None,
) -> None:
    """Write where a run's time went as a trace for https://ui.perfetto.dev."""
    from splitft.tracing import trace_run

    trace_run(run, rounds=rounds, out=out)


@app.command("new")
def new_command(
    kind: Annotated[str, typer.Argument(help="scenario, study, device, network or fleet.")],
    name: Annotated[str, typer.Argument(help="Its id; the file is NAME.yaml in the current folder.")],
) -> None:
    """Write a commented template to start from."""
    from splitft.commands import new_file

    new_file(kind, name)


def main() -> NoReturn:
    """Run the command line and exit."""
    # Threads that wait for each other by spinning take the machine from whoever else works on it, and from themselves.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # being asked to end is an interruption too
    sys.exit(_run_app())


def _run_app() -> int:
    try:
        with naming_options({OUT: f"--{OUT}"}):
            app()
    except InputError as error:
        return _complain(str(error), 2)
    except (Interrupted, KeyboardInterrupt):
        return _complain("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone; say no more
        return 1
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except Exception as error:
        if os.environ.get("SPLITFT_DEBUG"):
            raise
        return _complain(*_explained(error))
    return 0


def _explained(error: Exception) -> tuple[str, int]:
    """Return what to say of an error that nobody has explained yet, and the exit code."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"no file has so long a name: {shown(error.filename)}", 2
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        return f"no room left: {error}", 1
    if isinstance(error, LostError):
        return str(error), 1
    return (
        f"unexpected {type(error).__name__}: {error}\nThis is a defect of splitft. "
        "Set SPLITFT_DEBUG=1 to see where it happened, and please report it."
    ), 1


def _complain(message: str, code: int) -> int:
    for line in message.splitlines():
        print(f"error: {line}" if line else "", file=sys.stderr)
    return code
