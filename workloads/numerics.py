"""What of this machine and this software can change a result, in one line; found without loading torch."""

import hashlib
import re
from importlib.metadata import version
from pathlib import Path

from workloads import machine
from workloads.executors import ExecutorName

# Every module here that does arithmetic on weights, or decides which is done.
MATHEMATICS = (
    "aggregate.py",
    "aggregators.py",
    "agreement.py",
    "anatomy.py",
    "buffered.py",
    "codec_bytes.py",
    "codecs.py",
    "engine.py",
    "fused.py",
    "gates.py",
    "interleaved.py",
    "loading.py",
    "local_loss.py",
    "lora.py",
    "optimizer.py",
    "products.py",
    "rules.py",
    "sequential.py",
    "split.py",
    "stacked.py",
    "states.py",
    "trainer.py",
    "training.py",
    "u_shape.py",
)

SOURCES = Path(__file__).parent

_LIBRARIES = ("torch", "transformers", "peft")
_THREADS = re.compile(r"; (\d+) threads;")


def numerics_id(
    device_name: str, dtype: str, executor: ExecutorName = "sequential", *, threads: int | None = None
) -> str:
    """Return a name that two set-ups share only if the same task gives them the same bits.

    Args:
        device_name: `auto`, `cpu`, `cuda` or `cuda:1`.
        dtype: of the computation.
        executor: how the clients of a round are trained (`workloads.executors.pick_executor`).
        threads: that are computed with; None: as many as this process has.

    Raises:
        ValueError: there is no such device here.
    """
    device = machine.device_name(device_name)
    libraries = [f"{library} {version(library)}" for library in _LIBRARIES]
    return "; ".join(
        (
            _device(device),
            dtype,
            f"executor {executor}",
            "attention sdpa",
            f"{machine.num_threads() if threads is None else threads} threads",
            *machine.switches(),
            *machine.torch_settings(),
            *libraries,
            f"source {source_digest()[:16]}",
        )
    )


def named_threads(numerics: str) -> int | None:
    """Return how many threads a name of `numerics_id` says; None for another text."""
    found = _THREADS.search(numerics)
    return None if found is None else int(found[1])


def source_digest(folder: Path | None = None) -> str:
    """Return the sha256 in hex of the source files that do the mathematics; those of this package by default."""
    folder = SOURCES if folder is None else folder
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in MATHEMATICS)).hexdigest()


def _device(device: str) -> str:
    if device != "cpu":
        return f"cuda {machine.gpus()[int(device.partition(':')[2])]}"
    capability = machine.cpu_capability()
    words = [machine.processor(), *([] if capability is None else [capability])]
    return f"cpu {' '.join(words)} {machine.instructions_digest()}"
