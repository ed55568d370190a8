"""What starts without torch, in processes of their own."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft")

PROBE = """
import sys
{body}
heavy = [name for name in {heavy} if name in sys.modules]
assert not heavy, f"imported {{heavy}}"
"""

CALL = """
sys.argv = ["splitft", *{arguments!r}]
from splitft.cli import main
try:
    main()
except SystemExit as stop:
    assert stop.code == 0, f"exit {{stop.code}}"
"""

FIXED = ["--set", "policy.kind=fixed", "--set", "rounds=1"]

COMMANDS = [
    ["--help"],
    ["devices", "list"],
    ["devices", "show", "rpi5-8gb"],
    ["networks", "list"],
    ["fleets", "show", "phones-2024"],
    ["scenarios", "show", "quickstart"],
    ["models", "list"],
    ["check", "quickstart"],
    ["run", "quickstart", "--trainer", "cost-only", "--set", "rounds=1", "--out", "out"],
    ["studies", "list"],
    ["sweep", "--base", "quickstart", "--vary", "rounds=1", "--set", "execution.trainer=cost-only", "--jobs", "1"],
]


def run_python(body, folder):
    code = PROBE.format(body=body, heavy=HEAVY)
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_command_that_does_not_learn_imports_no_torch(arguments, tmp_path):
    done = run_python(CALL.format(arguments=arguments), tmp_path)
    assert done.returncode == 0, done.stderr


AFTERWARDS = [
    ["compare", "fast", "slow"],
    ["plot", "fast", "client_time"],
    ["replay", "fast", "--set", "server.slots=2", "--out", "replayed"],
    ["resume", "fast"],
    ["cache", "info"],
]


def test_no_command_on_finished_runs_imports_torch(tmp_path):
    calls = [
        ["run", "quickstart", "--trainer", "cost-only", "--set", f"policy.cut={cut}", *FIXED, "--out", name]
        for cut, name in ((1, "fast"), (5, "slow"))
    ]
    for arguments in [*calls, *AFTERWARDS]:
        done = run_python(CALL.format(arguments=arguments), tmp_path)
        assert done.returncode == 0, (arguments, done.stderr)


@pytest.mark.parametrize("module", ["simulator", "analysis", "devices", "workloads", "splitft"])
def test_a_package_imports_no_torch(module, tmp_path):
    done = run_python(f"import {module}", tmp_path)
    assert done.returncode == 0, done.stderr


def test_importing_analysis_does_not_import_the_clock(tmp_path):
    done = run_python("import analysis.summary, analysis.plots\nassert 'simpy' not in sys.modules", tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_folder_that_hides_a_package_is_named(tmp_path):
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "__init__.py").write_text("")
    done = run_python("import splitft", tmp_path)
    assert done.returncode != 0
    assert "splitft needs its own package 'devices'" in done.stderr
    assert str(tmp_path / "devices") in done.stderr
