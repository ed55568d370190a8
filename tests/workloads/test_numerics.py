"""The name of all that can change a result besides the task."""

import re
import shutil
from pathlib import Path

import pytest
import torch

import workloads
from workloads.numerics import MATHEMATICS, numerics_id, source_digest

pytestmark = pytest.mark.torch

PACKAGE = Path(workloads.__path__[0])


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for name in MATHEMATICS:
        shutil.copy(PACKAGE / name, tmp_path)
    return tmp_path


def test_it_names_device_dtype_threads_and_versions() -> None:
    name = numerics_id("cpu", "float32")
    assert name.startswith("cpu ")
    for part in ("float32", f"{torch.get_num_threads()} threads", f"torch {torch.__version__}", "peft ", "source "):
        assert f"; {part}" in name


def test_dtype_and_threads_make_a_difference() -> None:
    before, threads = numerics_id("cpu", "float32"), torch.get_num_threads()
    assert numerics_id("cpu", "bfloat16") != before
    try:
        torch.set_num_threads(threads + 1)
        assert numerics_id("cpu", "float32") != before
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", MATHEMATICS)
def test_editing_a_source_file_of_the_mathematics_makes_a_difference(sources: Path, name: str) -> None:
    before = source_digest(sources)
    assert before == source_digest()
    with (sources / name).open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    assert source_digest(sources) != before


def test_every_module_that_computes_with_torch_counts_as_mathematics() -> None:
    imports_torch = re.compile(r"^(import torch$|from torch import )", re.MULTILINE)
    importing = {file.name for file in PACKAGE.glob("*.py") if imports_torch.search(file.read_text())}
    before_and_after = {"dequantise.py", "merging.py"}  # one makes the model, which its digest names; one reads a run
    assert importing - before_and_after <= set(MATHEMATICS)
