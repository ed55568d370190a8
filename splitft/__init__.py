"""SplitFT Simulator: real split LoRA training under a simulated clock.

    import splitft

    run = splitft.run(splitft.Scenario.load("quickstart"))
    run.evals  # a pandas frame; also run.spans, run.rounds, run.clients
    run.plot("loss_vs_time")

Names load their modules when they are first used, so that importing this package costs nothing.
"""

from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from devices.problems import InputError
    from simulator.scenario import Scenario
    from simulator.study import load_study, quick_study
    from splitft.api import load_run, resume, run
    from splitft.finished import Run
    from splitft.replaying import replay
    from splitft.studies import SweptStudy, load_swept, sweep

__all__ = [
    "InputError",
    "Run",
    "Scenario",
    "SweptStudy",
    "load_run",
    "load_study",
    "load_swept",
    "quick_study",
    "replay",
    "resume",
    "run",
    "sweep",
]

_HOMES = {
    "InputError": "devices.problems",
    "Run": "splitft.finished",
    "Scenario": "simulator.scenario",
    "SweptStudy": "splitft.studies",
    "load_run": "splitft.api",
    "load_study": "simulator.study",
    "load_swept": "splitft.studies",
    "quick_study": "simulator.study",
    "replay": "splitft.replaying",
    "resume": "splitft.api",
    "run": "splitft.api",
    "sweep": "splitft.studies",
}


def __getattr__(name: str) -> object:
    """Import the module that holds a public name and return what it names."""
    if name == "__version__":
        return version("splitft")
    if name not in _HOMES:
        raise AttributeError(f"module 'splitft' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]


def _refuse_shadows() -> None:
    """Raise ImportError where a package of this project is hidden by a folder or module of the same name."""
    home = Path(__file__).resolve().parent.parent
    for package in ("analysis", "devices", "simulator", "workloads"):
        spec = find_spec(package)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if found is None or found.parent.parent != home:
            raise ImportError(
                f"splitft needs its own package {package!r} from {home}, but Python finds {found or 'none'} first. "
                f"Rename that file or folder, or start Python elsewhere."
            )


_refuse_shadows()
