"""`splitft models fetch`: shows on standard error how far a fetch is and says how it ended."""

import typer
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from devices.problems import InputError, Problem
from splitft.bar import Bar
from splitft.show import console
from workloads.fetch import FetchError, fetch_model
from workloads.fetchable import FETCHABLE
from workloads.models import FETCHED_MODELS, ModelError


def fetch(name: str) -> None:
    """Fetch a model, unless it is there, and say where it is and what it is."""
    try:
        with FetchProgress() as progress:
            is_new = fetch_model(name, on_progress=progress.show)
    except ModelError as error:
        raise InputError(Problem(str(error))) from None
    except FetchError as error:
        typer.echo("\n".join(f"error: {line}" for line in str(error).splitlines()), err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo(f"error: interrupted; nothing was kept, `splitft models fetch {name}` starts again", err=True)
        raise typer.Exit(130) from None
    model, folder = FETCHABLE[name], FETCHED_MODELS / name
    typer.echo(f"{name}: {model.num_parameters:,} parameters in {folder}" if is_new else f"{name} is in {folder}")
    typer.echo(f"{model.note}. Licence: {model.licence}.")


class FetchProgress(Bar):
    """A bar on a terminal; elsewhere a line for each thing that is begun."""

    def __init__(self) -> None:
        self._console = console(to_stderr=True)
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            terminal=self._console,
            shown=self._console.is_terminal,
        )
        self._what = ""
        self._task = self._bar.add_task("", total=None, visible=False)

    def show(self, what: str, frac: float | None) -> None:
        """Show what is being done and how far it is."""
        if what != self._what:
            self._what = what
            self._bar.reset(self._task, description=what, visible=True)
            if not self._console.is_terminal:
                self._console.print(what, soft_wrap=True)
        self._bar.update(self._task, completed=frac or 0.0, total=None if frac is None else 1.0)
