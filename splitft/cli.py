"""The command line: exit 0; 1 when a run failed; 2 for bad input; 130 when interrupted; never a traceback.

Commands import what they need when they are called, so that `splitft --help` and the lists start at once.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from devices.problems import InputError
from splitft.listing import devices_app, fleets_app, models_app, networks_app, scenarios_app

app = typer.Typer(
    name="splitft",
    help="Real split LoRA fine-tuning under a simulated clock: what would it take on these devices and networks?",
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

ScenarioArgument = Annotated[str, typer.Argument(help="A shipped scenario (`splitft scenarios list`) or a YAML file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in policy.kind=fixed.")
]
CatalogueOption = Annotated[
    list[Path] | None, typer.Option("--catalogue", metavar="DIR", help="A folder with your own devices and networks.")
]


@app.command("run")
def run_command(  # noqa: PLR0917 - options
    scenario: ScenarioArgument = "quickstart",
    set_: SetOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The run folder; default runs/<name>-NNN.")
    ] = None,
    trainer: Annotated[str | None, typer.Option("--trainer", help="torch or cost-only.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = None,
    catalogue: CatalogueOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Run a scenario: train for real, take the time that the devices would have taken."""
    from splitft.commands import run_scenario

    overrides = [*(set_ or [])]
    overrides += [f"execution.trainer={trainer}"] if trainer is not None else []
    overrides += [f"execution.device={device}"] if device is not None else []
    run_scenario(scenario, overrides, out=out, catalogue=catalogue or [], as_json=json_, quiet=quiet)


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


@app.command("new")
def new_command(
    kind: Annotated[str, typer.Argument(help="scenario, device, network or fleet.")],
    name: Annotated[str, typer.Argument(help="Its id; the file is NAME.yaml in the current folder.")],
) -> None:
    """Write a commented template to start from."""
    from splitft.commands import new_file

    new_file(kind, name)


def main() -> NoReturn:
    """Run the command line and exit."""
    sys.exit(_run_app())


def _run_app() -> int:
    try:
        app()
    except InputError as error:
        return _complain(str(error), 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone; say no more
        return 1
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except Exception as error:
        if os.environ.get("SPLITFT_DEBUG"):
            raise
        return _complain(
            f"unexpected {type(error).__name__}: {error}\nThis is a defect of splitft. "
            "Set SPLITFT_DEBUG=1 to see where it happened, and please report it.",
            1,
        )
    return 0


def _complain(message: str, code: int) -> int:
    for line in message.splitlines():
        print(f"error: {line}" if line else "", file=sys.stderr)
    return code
