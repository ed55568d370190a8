"""The commands on studies: sweep, compare, table, plot, and the shipped ones."""

from pathlib import Path
from typing import Annotated

import typer

StudyArgument = Annotated[str, typer.Argument(help="A study folder, or its name in studies/.")]
ByOption = Annotated[
    list[str] | None, typer.Option("--by", metavar="KEY", help="A key of the scenario that tells settings apart.")
]
MetricsOption = Annotated[str | None, typer.Option("--metrics", metavar="A,B", help="What is shown.")]
Name = Annotated[str, typer.Argument(metavar="ID")]

studies_app = typer.Typer(help="The studies that come with splitft.", no_args_is_help=True, rich_markup_mode=None)


@studies_app.command("list")
def list_studies_command() -> None:
    """List the shipped studies."""
    from splitft.study_answers import list_studies

    list_studies()


@studies_app.command("show")
def show_study_command(study: Name) -> None:
    """Print a shipped study's file, to start one of your own from."""
    from splitft.study_answers import show_study

    show_study(study)


def sweep_command(  # noqa: PLR0917 - options
    study: Annotated[
        str | None, typer.Argument(help="A shipped study, a YAML file, or the folder of a study to go on with.")
    ] = None,
    base: Annotated[str | None, typer.Option("--base", help="Instead of a study: the scenario to vary.")] = None,
    vary: Annotated[
        list[str] | None, typer.Option("--vary", metavar="KEY=A,B", help="With --base: a key and its values.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key in all cases.")
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="With --base: repeat each case so often.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The study folder; default studies/<name>-NNN.")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Cases at the same time; default: cores.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="local or ray.")] = "local",
    catalogue: Annotated[
        list[Path] | None, typer.Option("--catalogue", metavar="DIR", help="A folder with your own files.")
    ] = None,
    plots: Annotated[bool, typer.Option("--plots", help="Draw the pictures of each run.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run cases again that failed.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the frame as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Run a scenario many times with something varied; equal training is done once."""
    from splitft.study_commands import sweep_study

    code = sweep_study(
        study,
        base=base,
        vary=vary or [],
        overrides=set_ or [],
        seeds=seeds,
        out=out,
        catalogue=catalogue or [],
        jobs=jobs,
        engine=engine,
        plots=plots,
        retry_failed=retry_failed,
        as_json=json_,
        quiet=quiet,
    )
    raise typer.Exit(code)


def compare_command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run folders or studies; the first is the base.")],
    by: Annotated[
        list[str] | None, typer.Option("--by", metavar="KEY", help="Compare values of this key alone; or of several.")
    ] = None,
    metrics: MetricsOption = None,
    target: Annotated[float | None, typer.Option("--target", help="A perplexity to reach.")] = None,
) -> None:
    """Compare runs: in what their scenarios differ, and what came of it, by pairs of equal seeds."""
    from splitft.study_answers import compare_runs

    compare_runs(runs, by=by or [], metrics=_split(metrics), target=target)


def table_command(  # noqa: PLR0917 - options
    study: StudyArgument,
    kind: Annotated[
        str | None, typer.Option("--format", help="markdown, latex, csv or parquet; default: by the file's ending.")
    ] = None,
    by: ByOption = None,
    metrics: MetricsOption = None,
    effects: Annotated[
        str | None, typer.Option("--effects", metavar="METRIC", help="How much each varied key explains of it.")
    ] = None,
    pareto: Annotated[
        str | None,
        typer.Option("--pareto", metavar="A,B", help="Mark settings that nothing beats in these metrics."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Ending in .md, .tex, .csv or .parquet.")
    ] = None,
) -> None:
    """Print a table of a study: every case, or with --by means and 95 % intervals over seeds.

    Intervals are of each row alone; `splitft compare` goes by pairs, which tells more apart.
    """
    from splitft.study_answers import print_table

    print_table(study, kind=kind, by=by or [], metrics=_split(metrics), effects=effects, pareto=_split(pareto), out=out)


def plot_command(  # noqa: PLR0917 - options
    run: Annotated[str, typer.Argument(metavar="RUN|STUDY", help="A run or study folder, or its name.")],
    picture: Annotated[
        str, typer.Argument(help="A study's: curve, front, ratios, interaction. A run's: as in plots/.")
    ],
    x: Annotated[
        str | None, typer.Option("--x", help="curve: time_s, sent_bytes, round. front: metric. interaction: key.")
    ] = None,
    y: Annotated[
        str | None, typer.Option("--y", help="curve: perplexity, loss, token_accuracy. Others: a metric.")
    ] = None,
    by: ByOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Ending in .pdf, .png or .svg; default: a PDF not there yet."),
    ] = None,
) -> None:
    """Draw a picture.

    Those of a study are as wide as a column of a paper, `ratios` as two, and come with what their caption has to say.
    """
    from splitft.drawing import draw

    draw(run, picture, x=x, y=y, by=by or [], out=out)


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []
