"""What is known of a machine without torch, and that torch sees the same."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from workloads import machine

ROOT = Path(__file__).parents[2]

INTEL = """processor\t: 0
model name\t: Some Processor @ 3 GHz
flags\t\t: fpu sse2 {flags} constant_tsc

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*machine.SWITCHES, "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def listing(folder: Path, text: str) -> Path:
    file = folder / "cpuinfo"
    file.write_text(text)
    return file


AVX512 = "fma avx avx2 avx512f avx512dq avx512bw avx512vl"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (AVX512, "AVX512"),
        (AVX512.replace("avx512vl", "avx512cd"), "AVX2"),
        (AVX512.replace("fma ", ""), "DEFAULT"),
        ("fma avx avx2", "AVX2"),
        ("avx avx2", "DEFAULT"),
        ("", "DEFAULT"),
    ],
)
def test_the_instructions_that_torch_uses_follow_from_the_flags(tmp_path: Path, flags: str, expected: str) -> None:
    assert machine.cpu_capability(listing(tmp_path, INTEL.format(flags=flags))) == expected


def test_a_user_may_ask_for_fewer_instructions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = listing(tmp_path, INTEL.format(flags=AVX512))
    for asked, expected in (("avx2", "AVX2"), ("default", "DEFAULT"), ("nonsense", "AVX512")):
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", asked)
        assert machine.cpu_capability(file) == expected


def test_where_the_kernel_lists_no_flags_only_torch_knows(tmp_path: Path) -> None:
    assert machine.cpu_capability(tmp_path / "none") is None
    assert machine.cpu_capability(listing(tmp_path, "processor: 0\nFeatures\t: asimd sve bf16\n")) is None


def test_the_processor_has_its_name(tmp_path: Path) -> None:
    assert machine.processor(listing(tmp_path, INTEL.format(flags=""))) == "Some Processor @ 3 GHz"
    assert machine.processor(tmp_path / "none")  # what Python says


def test_only_instruction_sets_enter_their_digest(tmp_path: Path) -> None:
    def digest(flags: str) -> str:
        return machine.instructions_digest(listing(tmp_path, INTEL.format(flags=flags)))

    before = digest("avx2 fma")
    assert digest("fma avx2") == before
    assert digest("avx2 fma retbleed ibrs_enhanced md_clear") == before  # a new kernel is no other processor
    assert digest("avx2 fma amx_tile") != before
    arm = [listing(tmp_path, f"Features\t: fp asimd {extra}\n") for extra in ("", "sve bf16")]
    assert machine.instructions_digest(arm[0]) != before


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"MKL_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "5"}, 3),
        ({"OMP_NUM_THREADS": "many", "MKL_NUM_THREADS": "0"}, 7),
        ({}, 7),
    ],
)
def test_the_number_of_threads_is_decided_by_variables_or_cores(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: int
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(machine, "num_cores", lambda: 7)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert machine.num_threads() == expected


def test_where_torch_is_loaded_its_own_number_of_threads_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(get_num_threads=lambda: 9))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert machine.num_threads() == 9


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not say")
def test_two_threads_of_a_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for processor, siblings in enumerate(["0,2", "1,3", "0,2", "1,3", "4"]):
        folder = tmp_path / f"cpu{processor}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4})
    assert machine.num_cores(tmp_path) == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2})
    assert machine.num_cores(tmp_path) == 1
    assert machine.num_cores(tmp_path / "none") == 2


def test_switches_that_are_set_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.switches() == ()
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    assert machine.switches() == ("MKL_CBWR=AVX2", "NVIDIA_TF32_OVERRIDE=0")


def test_precision_that_a_program_has_lowered_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for precision, expected in (("highest", ()), ("high", ("float32 products high",))):
        torch = SimpleNamespace(get_float32_matmul_precision=lambda precision=precision: precision)
        monkeypatch.setitem(sys.modules, "torch", torch)
        assert machine.torch_settings() == expected
    monkeypatch.delitem(sys.modules, "torch")
    assert machine.torch_settings() == ()


def test_devices_are_named_as_torch_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: ())
    assert machine.device_name("auto") == machine.device_name("cpu") == "cpu"
    with pytest.raises(ValueError, match=r"device 'cuda' is not on this machine; allowed: auto, cpu$"):
        machine.device_name("cuda")
    monkeypatch.setattr(machine, "gpus", lambda: ("A", "B"))
    assert machine.device_name("auto") == machine.device_name("cuda") == "cuda:0"
    assert machine.device_name("cuda:1") == "cuda:1"
    with pytest.raises(ValueError, match=r"device 'cuda:2' .*; allowed: auto, cpu, cuda, cuda:0, cuda:1"):
        machine.device_name("cuda:2")


class Driver:
    """NVIDIA's driver with these GPUs; `broken` names a function that fails."""

    def __init__(self, names: list[bytes], broken: str = "") -> None:
        self._names, self._broken = names, broken

    def cuInit(self, _flags: int) -> int:  # noqa: N802 -- the driver's names
        return self._status("cuInit")

    def cuDeviceGetCount(self, count: object) -> int:  # noqa: N802
        count._obj.value = len(self._names)  # type: ignore[attr-defined]
        return self._status("cuDeviceGetCount")

    def cuDeviceGet(self, gpu: object, index: int) -> int:  # noqa: N802
        gpu._obj.value = index  # type: ignore[attr-defined]
        return self._status("cuDeviceGet")

    def cuDeviceGetName(self, name: object, _size: int, gpu: object) -> int:  # noqa: N802
        name.value = self._names[gpu.value]  # type: ignore[attr-defined]
        return self._status("cuDeviceGetName")

    def _status(self, function: str) -> int:
        return 100 if function == self._broken else 0


@pytest.mark.parametrize(
    ("build", "driver", "expected"),
    [
        ({"cuda": "12.8"}, Driver([b"NVIDIA A", b"NVIDIA B"]), ("NVIDIA A", "NVIDIA B")),
        ({"cuda": "12.8"}, Driver([b"NVIDIA A"], broken="cuInit"), ()),
        ({"cuda": "12.8"}, Driver([b"NVIDIA A"], broken="cuDeviceGetName"), ()),
        ({"cuda": "12.8"}, None, ()),
        ({}, Driver([b"NVIDIA A"]), ()),  # torch is built for processors alone
    ],
)
def test_the_driver_is_asked_for_gpus(
    monkeypatch: pytest.MonkeyPatch, build: dict[str, str], driver: Driver | None, expected: tuple[str, ...]
) -> None:
    def load(_name: str) -> Driver:
        if driver is None:
            raise OSError("no such library")
        return driver

    monkeypatch.setattr(machine, "torch_build", lambda: build)
    monkeypatch.setattr(machine.ctypes, "CDLL", load)
    assert machine.gpus.__wrapped__() == expected


def test_without_torch_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"torch is not installed; .*execution\.trainer: cost-only"):
        machine.torch_build.__wrapped__()


AGREEMENT = """
import sys
from workloads.numerics import numerics_id
before = numerics_id("auto", "float32")
assert "torch" not in sys.modules
import torch
from workloads.agreement import agree
agree(before, "auto")
assert numerics_id("auto", "float32") == before, (before, numerics_id("auto", "float32"))
from workloads import machine
assert machine.torch_build().get("cuda") == torch.version.cuda
print(torch.get_num_threads())
"""


@pytest.mark.torch
@pytest.mark.parametrize("variables", [{}, {"OMP_NUM_THREADS": "3", "ATEN_CPU_CAPABILITY": "default"}], ids=str)
def test_torch_names_the_machine_as_it_is_named_without_torch(variables: dict[str, str]) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}} | variables
    done = subprocess.run(
        [sys.executable, "-c", AGREEMENT], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == int(variables.get("OMP_NUM_THREADS", machine.num_cores()))


@pytest.mark.torch
class TestDisagreement:
    """What torch says only once it is loaded is checked then."""

    @pytest.fixture(autouse=True)
    def _threads(self) -> object:
        import torch

        threads = torch.get_num_threads()
        yield
        torch.set_num_threads(threads)

    def test_another_instruction_set_is_refused_with_a_way_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from workloads.agreement import agree

        monkeypatch.setattr(machine, "cpu_capability", lambda: "AVX9")
        with pytest.raises(ValueError, match=r"the machine 'AVX9'; set ATEN_CPU_CAPABILITY=avx9"):
            agree("", "cpu")

    def test_a_gpu_that_torch_does_not_see_is_refused_with_a_way_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import torch

        from workloads.agreement import agree

        monkeypatch.setattr(machine, "gpus", lambda: ("NVIDIA A",))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        with pytest.raises(ValueError, match=r"torch would use cpu, but the driver shows cuda:0.*device: cpu"):
            agree("", "auto")

    def test_torch_gets_the_number_of_threads_that_the_name_says(self) -> None:
        import torch

        from workloads.agreement import agree
        from workloads.numerics import numerics_id

        name = numerics_id("cpu", "float32")
        before = torch.get_num_threads()
        agree(name.replace(f"{before} threads", f"{before + 1} threads"), "cpu")
        assert torch.get_num_threads() == before + 1
        assert numerics_id("cpu", "float32") != name
