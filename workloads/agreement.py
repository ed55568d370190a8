"""Make torch compute as the numerics id says, and check what it only tells once it is loaded.

The id is found without torch (`workloads.machine`). Were it wrong, results would be remembered under a wrong name; so a
machine that torch sees otherwise is an error.
"""

import torch

from workloads import machine
from workloads.loading import pick_device
from workloads.numerics import named_threads


def agree(numerics: str, device_name: str) -> None:
    """Give torch the number of threads that the id says, and check device and instructions.

    Args:
        numerics: as `workloads.numerics.numerics_id` makes it.
        device_name: as it was made for: `auto`, `cpu`, `cuda` or `cuda:1`.

    Raises:
        ValueError: torch sees another machine; the message says how to go on.
    """
    threads = named_threads(numerics)
    if threads is not None:
        # Also where torch has that many already: it makes MKL use all of them rather than as many as it likes.
        torch.set_num_threads(threads)
    device = pick_device(device_name)
    expected = machine.device_name(device_name)
    if str(device) != expected:
        raise ValueError(
            f"torch would use {device}, but the driver shows {expected}: torch's CUDA and the driver may not go "
            f"together; choose execution.device: cpu, or one that torch.cuda.is_available() confirms"
        )
    if device.type == "cuda":
        _same("GPU", torch.cuda.get_device_name(device), machine.gpus()[device.index or 0], "choose another device")
    elif (capability := machine.cpu_capability()) is not None:
        advice = f"set ATEN_CPU_CAPABILITY={capability.lower()}"
        _same("instruction set", torch.backends.cpu.get_cpu_capability(), capability, advice)


def _same(what: str, by_torch: str, by_machine: str, advice: str) -> None:
    if by_torch != by_machine:
        raise ValueError(f"torch names the {what} {by_torch!r}, the machine {by_machine!r}; {advice}")
