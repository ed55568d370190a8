"""What of this machine and this software can change a result, in one line."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from workloads.loading import pick_device

# Every module here that does arithmetic on weights, or decides which is done.
MATHEMATICS = ("aggregate.py", "anatomy.py", "loading.py", "lora.py", "optimizer.py", "split.py", "trainer.py")

_LIBRARIES = ("torch", "transformers", "peft")


def numerics_id(device_name: str, dtype: str) -> str:
    """Return a name that two set-ups share only if the same task gives them the same bits.

    Args:
        device_name: as `workloads.loading.pick_device` takes it.
        dtype: of the computation.
    """
    device = pick_device(device_name)
    libraries = [f"{library} {version(library)}" for library in _LIBRARIES]
    return "; ".join(
        (
            f"{device.type} {_device_name(device)}",
            dtype,
            "executor sequential",
            "attention sdpa",
            f"{torch.get_num_threads()} threads",
            *libraries,
            f"source {source_digest()[:16]}",
        )
    )


def source_digest(folder: Path = Path(__file__).parent) -> str:
    """Return the sha256 in hex of the source files that do the mathematics."""
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in MATHEMATICS)).hexdigest()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()} {torch.backends.cpu.get_cpu_capability()}"


def _processor() -> str:
    """Return the processor's name; Python's own answer is empty on Linux."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
