"""What of this machine can change a result, found without torch: loading it takes seconds that a run may not need.

`workloads.agreement` checks, once torch is loaded, that torch sees the same machine.
"""

import ctypes
import hashlib
import os
import platform
import re
import sys
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

# Environment variables by which users choose other kernels of torch, MKL, oneDNN and CUDA.
SWITCHES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)

CPU_LISTING = Path("/proc/cpuinfo")
CPU_TOPOLOGY = Path("/sys/devices/system/cpu")

# Of all that the kernel lists, the instructions that a library of mathematics may choose its code by.
_INSTRUCTIONS = re.compile(r"(sse|ssse|avx|amx|fma|f16c|bmi|asimd|sve|sme|fp|bf16|i8mm)\w*")
_NAME_BYTES = 256


def device_name(name: str) -> str:
    """Return where tensors will live for a name that a user may give: `cpu` or `cuda:0`.

    Args:
        name: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:1`.

    Raises:
        ValueError: there is no such device here.
    """
    num_gpus = len(gpus())
    if name == "auto":
        name = "cuda" if num_gpus else "cpu"
    allowed = ["cpu", *(["cuda"] if num_gpus else []), *(f"cuda:{i}" for i in range(num_gpus))]
    if name not in allowed:
        raise ValueError(f"device {name!r} is not on this machine; allowed: auto, {', '.join(allowed)}")
    return "cuda:0" if name == "cuda" else name


@cache
def gpus() -> tuple[str, ...]:
    """Return the names of the GPUs that torch would use, in its order.

    The driver itself is asked, as torch does, so that CUDA_VISIBLE_DEVICES and partitions count alike.
    """
    build = torch_build()
    if build.get("hip"):
        import torch  # noqa: PLC0415 -- nobody else knows how ROCm numbers its GPUs

        return tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return _cuda_gpus() if build.get("cuda") else ()


@cache
def torch_build() -> dict[str, str]:
    """Return what torch was built for (`cuda`, `hip`), from its sources; what is None is left out.

    Raises:
        ValueError: torch is not installed.
    """
    spec = find_spec("torch")  # finds it without running it
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("torch is not installed; `pip install torch`, or set execution.trainer: cost-only")
    text = (Path(spec.submodule_search_locations[0]) / "version.py").read_text(encoding="utf-8")
    return dict(re.findall(r"^(\w+)(?:: [^=]+)? = '([^']+)'", text, re.MULTILINE))


def num_threads() -> int:
    """Return how many threads torch is to compute with.

    Torch's own number where it is loaded, since a program may have set it. Else what OMP_NUM_THREADS or
    MKL_NUM_THREADS says, else one for each physical core that this process may use.
    """
    if (torch := sys.modules.get("torch")) is not None:
        return int(torch.get_num_threads())
    return asked_threads() or num_cores()


def asked_threads() -> int | None:
    """Return how many threads OMP_NUM_THREADS or MKL_NUM_THREADS says; None where neither says any."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        first = os.environ.get(variable, "").partition(",")[0].strip()
        if first.isdecimal() and int(first) > 0:
            return int(first)
    return None


def num_cores(topology: Path = CPU_TOPOLOGY) -> int:
    """Return the physical cores among the processors that this process may use; two threads of a core count once."""
    if not hasattr(os, "sched_getaffinity"):  # macOS, Windows
        return os.cpu_count() or 1
    processors = os.sched_getaffinity(0)
    siblings = [topology / f"cpu{processor}" / "topology" / "thread_siblings_list" for processor in processors]
    try:
        return len({file.read_text(encoding="utf-8") for file in siblings})
    except OSError:
        return len(processors)


def processor(listing: Path = CPU_LISTING) -> str:
    """Return the processor's name; Python's own answer is empty on Linux."""
    return _listed(listing, "model name") or platform.processor() or platform.machine()


def cpu_capability(listing: Path = CPU_LISTING) -> str | None:
    """Return the instructions that torch's own kernels use, in torch's words; None where only torch knows.

    The rule is that of `compute_cpu_capability` in ATen's DispatchStub.cpp, for x86.
    """
    flags = frozenset(_listed(listing, "flags").split())
    if not flags:
        return None
    asked = os.environ.get("ATEN_CPU_CAPABILITY")
    if asked in {"default", "avx2", "avx512"}:
        return {"default": "DEFAULT", "avx2": "AVX2", "avx512": "AVX512"}[asked]
    if {"avx512vl", "avx512bw", "avx512dq", "fma"} <= flags:
        return "AVX512"
    return "AVX2" if {"avx2", "fma"} <= flags else "DEFAULT"


def instructions_digest(listing: Path = CPU_LISTING) -> str:
    """Return a digest of the processor's instruction sets, by which MKL and oneDNN choose their code."""
    flags = (_listed(listing, "flags") or _listed(listing, "Features")).split()
    return _digest(flag for flag in flags if _INSTRUCTIONS.fullmatch(flag))


def switches() -> tuple[str, ...]:
    """Return the environment variables of `SWITCHES` that are set, with their values."""
    return tuple(f"{name}={os.environ[name]}" for name in SWITCHES if name in os.environ)


def torch_settings() -> tuple[str, ...]:
    """Return what a program that has loaded torch has set otherwise than torch does by itself."""
    torch = sys.modules.get("torch")
    precision = "highest" if torch is None else torch.get_float32_matmul_precision()
    return () if precision == "highest" else (f"float32 products {precision}",)


def _cuda_gpus() -> tuple[str, ...]:
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return ()  # there is no driver
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    names = []
    for index in range(count.value):
        gpu, name = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
        if driver.cuDeviceGet(ctypes.byref(gpu), index) != 0 or driver.cuDeviceGetName(name, _NAME_BYTES, gpu) != 0:
            return ()
        names.append(name.value.decode())
    return tuple(names)


def _listed(listing: Path, name: str) -> str:
    """Return what the kernel says of the first processor under a name; empty where it says nothing."""
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""


def _digest(words: Iterable[str]) -> str:
    return hashlib.sha256(" ".join(sorted(words)).encode()).hexdigest()[:8]
