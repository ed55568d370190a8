"""What `splitft run million` takes: a fleet of a million phones, ten thousand a round, in a process of its own.

Reported are seconds of wall clock and of processor, the largest resident memory of the process, and the size of the run
folder. The bar is the memory; the time depends on the machine. Run from the repository root:

    python -m tests.benchmarks.million [--details] [--set KEY=VALUE]...

`--details` takes three rounds of it at every detail of spans instead.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

BAR_BYTES = 2 * 2**30
DETAILS = ("none", "rounds", "steps")


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a run took.

    Attributes:
        wall_s, processor_s: seconds.
        peak_bytes: largest resident memory.
        folder_bytes: what it has written.
    """

    wall_s: float
    processor_s: float
    peak_bytes: int
    folder_bytes: int


def run(overrides: list[str]) -> Taken:
    """Run the scenario with changes in a process of its own."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        settings = [word for override in overrides for word in ("--set", override)]
        command = [sys.executable, "-m", "splitft", "run", "million", "--quiet", "--out", str(folder), *settings]
        start_s = time.monotonic()
        _, status, usage = os.wait4(os.posix_spawn(sys.executable, command, os.environ), 0)
        wall_s = time.monotonic() - start_s
        if status:
            raise SystemExit("the run has failed")
        return Taken(
            wall_s=wall_s,
            processor_s=usage.ru_utime + usage.ru_stime,
            peak_bytes=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            folder_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        )


def main() -> None:
    """Print what it takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--details", action="store_true", help="three rounds at every detail of spans")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the scenario")
    arguments = parser.parse_args()
    print(f"{'':16}{'wall s':>10}{'processor s':>14}{'peak MiB':>12}{'folder MiB':>14}")
    cases = {"as shipped": []}
    if arguments.details:
        cases = {f"spans: {detail}": ["rounds=3", f"execution.spans={detail}"] for detail in DETAILS}
    for label, overrides in cases.items():
        taken = run([*overrides, *arguments.set])
        memory, folder = taken.peak_bytes / 2**20, taken.folder_bytes / 2**20
        print(f"{label:16}{taken.wall_s:10.1f}{taken.processor_s:14.1f}{memory:12,.0f}{folder:14,.1f}", flush=True)
        if taken.peak_bytes > BAR_BYTES:
            raise SystemExit(f"more memory than {BAR_BYTES / 2**20:,.0f} MiB")


if __name__ == "__main__":
    main()
