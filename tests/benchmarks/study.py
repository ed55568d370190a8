"""What a study over 20 fleets takes, against one run: the training is the same, so it should be done once.

    python -m tests.benchmarks.study                 # times, then the spans of 20 separate runs
    python -m tests.benchmarks.study --rounds 4 --no-check

Both sides are processes that start from nothing, with an empty store, one thread and one worker, and draw no pictures.
The 20 separate runs that spans are compared with do not remember; they last `--check-rounds` rounds, as does the study
that they are compared with. CPU seconds are those of all processes: on a machine that others use they say more.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import splitft
from simulator.scenario import to_yaml
from simulator.study import load_study

NUM_FLEETS = 20
BAR = 1.25
DEVICES = [
    "rpi5-8gb",
    "jetson-orin-nano-8gb",
    "apple-m2-16gb",
    "rtx-3060-12gb",
    "n100-16gb",
    "rtx-4060-8gb",
    "phone-a16",
]
NETWORKS = ["us-fixed-user-2025", "wifi5-2x2-cap", "starlink-us-2025", "lan-1gbe"]

ONE_RUN = """
import sys
from pathlib import Path
import splitft
from simulator.setting import resolve
from splitft.api import run_setting
run_setting(resolve(splitft.Scenario.load(sys.argv[1])), Path(sys.argv[2]), plots=False)
"""


def fleet(number: int) -> list[dict[str, str]]:
    """Return five clients that no other fleet has in the same order."""
    return [
        {
            "device": DEVICES[(number + place * (1 + number // len(DEVICES))) % len(DEVICES)],
            "network": NETWORKS[(number // 3 + place) % len(NETWORKS)],
        }
        for place in range(5)
    ]


def write_files(folder: Path, rounds: int) -> tuple[Path, Path]:
    """Write a scenario, and a study over fleets that starts from it; return both files."""
    scenario = splitft.Scenario.load("quickstart", ["policy.kind=fixed", f"rounds={rounds}"])
    base, study = folder / "base.yaml", folder / "study.yaml"
    base.write_text(to_yaml(scenario))
    fleets = [fleet(number) for number in range(NUM_FLEETS)]
    study.write_text(json.dumps({"name": "fleets", "base": "base.yaml", "vary": {"fleet.clients": fleets}}))
    return base, study


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Return the wall and the CPU seconds of a process and its children."""
    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SPLITFT_RESULTS": str(folder / "results")}
    before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, *command], check=True, env=environment, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - started_s, cpu_s


def sweep_command(study: Path, out: Path) -> list[str]:
    """Return the command that sweeps with one worker."""
    return ["-m", "splitft", "sweep", str(study), "--jobs", "1", "--out", str(out), "--quiet"]


def compare_times(folder: Path, rounds: int) -> None:
    """Print what one run and the study take."""
    folder.mkdir()
    base, study = write_files(folder, rounds)
    run_s, run_cpu_s = timed(["-c", ONE_RUN, str(base), str(folder / "run")], folder / "alone")
    sweep_s, sweep_cpu_s = timed(sweep_command(study, folder / "study"), folder / "together")
    hosts = [case.run.meta["host"] for case in splitft.load_swept(folder / "study").records.finished]
    computed, remembered = (sum(host[f"num_steps_{what}"] for host in hosts) for what in ("computed", "remembered"))
    assert len(hosts) == NUM_FLEETS
    assert remembered == (NUM_FLEETS - 1) * computed, "the same training was done more than once"
    print(f"{rounds} rounds, {computed} training steps computed, {remembered} remembered")
    print(f"one run:   {run_s:7.1f} s wall {run_cpu_s:7.1f} s CPU")
    print(f"20 fleets: {sweep_s:7.1f} s wall {sweep_cpu_s:7.1f} s CPU")
    print(f"ratio:     {sweep_s / run_s:7.2f}   wall {sweep_cpu_s / run_cpu_s:7.2f}   CPU (bar {BAR})")


def compare_spans(folder: Path, rounds: int) -> None:
    """Run every case once more on its own, without remembering, and compare the bytes of its spans."""
    folder.mkdir()
    _, file = write_files(folder, rounds)
    timed(sweep_command(file, folder / "study"), folder / "together")
    swept, study = splitft.load_swept(folder / "study"), load_study(file)
    for case in study.cases:
        scenario = splitft.Scenario.of(study.base, [*case.overrides, "execution.memo=false"], folder=study.base_folder)
        alone = splitft.run(scenario, folder / f"alone-{case.id}")
        spans = [sorted((run.folder / "spans").glob("*.parquet")) for run in (alone, swept.run(case.id))]
        assert len(spans[0]) == len(spans[1]) == rounds
        for mine, theirs in zip(*spans, strict=True):
            assert mine.read_bytes() == theirs.read_bytes(), f"{mine} and {theirs} differ"
    print(f"spans of {len(study.cases)} cases are those of separate runs without memory, to the byte ({rounds} rounds)")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--check-rounds", type=int, default=1)
    parser.add_argument("--no-check", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not asked.no_check:
            compare_spans(Path(folder) / "spans", asked.check_rounds)
        compare_times(Path(folder) / "times", asked.rounds)


if __name__ == "__main__":
    main()
