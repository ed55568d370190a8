"""What the documentation and the shipped scenarios say is executed, with the clock alone and a single round.

What needs the 135M model is marked `slow` and fetches it, once, into the user's cache; so is the whole million.
"""

import re
import shlex
import sys
from pathlib import Path
from typing import get_args

import pytest

from simulator.policies.deciding import POLICIES
from simulator.scenario import shipped
from simulator.sections.protocol import Protocol
from splitft import cli
from workloads.fetch import fetch_model

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROTOCOLS = tuple(member.__dataclass_fields__["kind"].default for member in get_args(get_args(Protocol)[0]))
QUICK = ["--trainer", "cost-only", "--set", "rounds=1"]


REAL_MODEL = "smollm2"  # as in the names of model and scenario


def marks(words):
    is_large = "million" in words and "fleet.count" not in words
    return [pytest.mark.slow] if is_large or REAL_MODEL in words else []


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands():
    for page in PAGES:
        for line in "".join(blocks(page, "sh")).splitlines():
            if line.startswith("splitft "):
                yield pytest.param(
                    shlex.split(line, comments=True)[1:],
                    id=f"{page.name}: {line.partition('#')[0].strip()}",
                    marks=marks(line),
                )


def run_cli(arguments, monkeypatch):
    if REAL_MODEL in " ".join(arguments):
        fetch_model("smollm2-135m")
    monkeypatch.setattr(sys, "argv", ["splitft", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0


@pytest.mark.parametrize("arguments", list(commands()))
def test_a_documented_command_works(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_cli([*arguments, *QUICK] if arguments[0] == "run" else arguments, monkeypatch)


def test_the_readme_has_commands():
    assert len(list(commands())) >= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documented_python_works(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), {})


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in shipped()])
def test_a_shipped_scenario_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_cli(["run", name, *QUICK, "--quiet"], monkeypatch)


@pytest.mark.parametrize(("folder", "kinds"), [("protocols", PROTOCOLS), ("policies", tuple(POLICIES))])
def test_every_protocol_and_policy_has_a_page_with_its_picture_and_its_source(folder, kinds):
    index = (ROOT / "docs" / f"{folder}.md").read_text()
    assert {page.stem for page in (ROOT / "docs" / folder).glob("*.md")} == set(kinds)
    for kind in kinds:
        page = (ROOT / "docs" / folder / f"{kind}.md").read_text()
        assert f"]({folder}/{kind}.md)" in index
        assert f"](../images/{folder}/{kind}.png)" in page
        assert re.search(r"arxiv\.org/abs/\d{4}\.\d{5}|doi 10\.|et al\. \d{4}|[Oo]urs[,:]", page)


def test_every_relative_link_of_the_documentation_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
