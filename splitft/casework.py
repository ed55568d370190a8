"""One case of a study, in a process that runs one after another: begun, or gone on with where it was interrupted."""

import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from devices.problems import InputError
from simulator.engines.local import line_of
from simulator.engines.news import News
from simulator.records.recorder import RunLock
from simulator.records.runs import RunFolderError
from simulator.setting import resolve
from simulator.study import Case
from simulator.study_folder import StudyFolder
from splitft.api import open_interrupted, run_setting, working_in
from splitft.work import Watch

PATIENCE_S = 10.0  # with a process of a sweep that was killed: it goes as soon as it can


def run_case(folder: StudyFolder, case: Case, watch: Watch) -> None:
    """Run a case to its end.

    Raises:
        InputError: it cannot be run, or gone on with.
    """
    path = folder.run_folder(case)
    if path.exists():
        _await_owner(path)
        with open_interrupted(path) as interrupted:
            interrupted.go_on(interrupted.resolve(), watch, plots=False)
    else:
        setting = resolve(folder.study.scenario(case), catalogue=folder.catalogue)
        run_setting(setting, path, catalogue=folder.catalogue, watch=watch, plots=False)


def attempt(folder: StudyFolder, name: str, tell: Callable[[News], None]) -> None:
    """Run a case to its end and tell how that went; nothing that goes wrong in it stops others."""
    tell(News(case=name, kind="begun"))
    try:
        run_case(
            folder,
            folder.case(name),
            Watch(on_progress=lambda progress: tell(News(case=name, kind="round", round=progress.round))),
        )
    except InputError as error:
        tell(News(case=name, kind="failed", error=str(error)))
    except Exception as error:  # noqa: BLE001 -- told, and kept with the case
        print(f"case {name}:", file=sys.stderr)
        traceback.print_exc()
        tell(News(case=name, kind="failed", error=f"{type(error).__name__}: {error}"))
    else:
        tell(News(case=name, kind="finished"))


def attempt_in(path: Path, name: str) -> News:
    """Run a case of the study in a folder to its end and return how that went; for a process of somebody else's."""
    folder, told = StudyFolder.open(path), list[News]()
    with working_in(folder.working_folder):
        attempt(folder, name, told.append)
    return told[-1]


def _await_owner(path: Path) -> None:
    """Wait a little for whoever still holds the lock of a run."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        try:
            RunLock(path).release()
        except RunFolderError:
            time.sleep(0.1)
        else:
            return


class Worker:
    """A worker of `simulator.engines.local`, on the standard input and output of this process."""

    def __init__(self, folder: Path) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; one decides
        signal.signal(signal.SIGTERM, _interrupt_once)
        self._folder = StudyFolder.open(folder)
        # What libraries print must not get between the news.
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._is_busy = False
        self._asked: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def run(self) -> None:
        """Run what is asked for, until nothing is any more."""
        while (name := self._asked.get()) is not None:
            attempt(self._folder, name, self._tell)

    def _listen(self) -> None:
        for line in sys.stdin:
            self._is_busy = True
            self._asked.put(line.strip())
        if self._is_busy:
            os._exit(1)  # whoever asked has gone; what has been done is in the case's folder
        self._asked.put(None)

    def _tell(self, news: News) -> None:
        if news.kind in {"finished", "failed"}:
            self._is_busy = False  # before the answer is heard, which may be that nothing more is to be done
        self._out.write(line_of(news))
        self._out.flush()


def _interrupt_once(*_: Any) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    """Be a worker for the study whose folder is the argument."""
    try:
        Worker(Path(sys.argv[1])).run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
