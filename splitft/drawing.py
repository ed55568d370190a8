"""`splitft plot`: a picture of a run or of a study, and what its caption has to say."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from devices.problems import InputError, Problem, did_you_mean
from simulator.records.studies import StudyRecords
from splitft.answers import told, writing
from splitft.api import load_run
from splitft.run_folders import find_run, find_study
from splitft.study_answers import finished_study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTIONS = {
    "curve": "means over runs, bands: 95 % intervals over seeds; a dot marks where a run has ended, "
    "which counts with its last value from there on",
    "front": "means over seeds; the line joins the settings that nothing beats",
    "ratios": "geometric means of pairs of cases that are equal in all else; lines go from the lowest to the highest",
    "interaction": "means; bars: 95 % intervals over seeds of what is left when each seed's mean is taken off "
    "(Cousineau 2005, Morey 2008), cut off where no value can be",
}


def draw(name: str, picture: str, *, x: str | None, y: str | None, by: Sequence[str], out: Path | None) -> None:
    """Write a picture of a run or of a study to a file: by default one named after both that is not there yet."""
    from analysis.study_plots import save_figure  # imports matplotlib
    from analysis.style import DPI

    folder = find_study(name)
    if folder is None:
        if x is not None or y is not None or by:
            raise InputError(Problem("pictures of one run have their axes: --x, --y and --by are for studies"))
        folder = find_run(name)
        with told():
            figure, dots_per_inch = load_run(folder).plot(picture), DPI
    else:
        with told():
            figure, dots_per_inch = _of_study(finished_study(name).records, picture, x=x, y=y, by=by), None
    file = out or _free(f"{folder.resolve().name}-{picture}")
    with told(), writing(file):
        save_figure(figure, file, dots_per_inch)
    if dots_per_inch is None:
        typer.echo(f"For its caption: {CAPTIONS[picture]}")


def _of_study(study: StudyRecords, picture: str, *, x: str | None, y: str | None, by: Sequence[str]) -> "Figure":
    from analysis.study_interactions import interactions
    from analysis.study_plots import curves, front
    from analysis.study_ratios import ratios

    match picture:
        case "curve":
            return curves(study, x=x or "time_s", y=y or "perplexity", by=by)
        case "front":
            return front(study, x=x or "simulated_s", y=y or "perplexity", by=by)
        case "ratios":
            return ratios(study, y=y or "simulated_s", by=by)
        case "interaction":
            if x is None:
                raise InputError(Problem("an interaction needs a key of the scenario to go along", key="--x"))
            return interactions(study, x=x, y=y or "simulated_s", by=by)
    known = did_you_mean(picture, CAPTIONS)
    raise InputError(Problem(f"a study has the pictures {', '.join(CAPTIONS)}, not '{picture}'{known}"))


def _free(stem: str) -> Path:
    """Return a PDF of this name, numbered where there is one already."""
    first = Path(f"{stem}.pdf")
    if not first.exists():
        return first
    return next(file for number in count(2) if not (file := Path(f"{stem}-{number:03d}.pdf")).exists())
