"""Where a problem is told that was found when all that is known of it is its key."""

import pytest

from devices.problems import Findings, InputError, Problem
from devices.strict_yaml import parse_document
from simulator.overrides import apply_overrides, parse_overrides
from simulator.source import Source

FILE = """\
fleet:
  clients:
    - {device: a, network: b}
policy:
  kind: per-device
  cuts:
    rpi4.b: 1
    rpi4: 2
"""


def source(*texts: str, is_shipped: bool = False) -> Source:
    overrides = parse_overrides(texts)
    document, _ = apply_overrides(parse_document(FILE, "mine.yaml"), overrides)
    name = "quickstart" if is_shipped else "mine.yaml"
    return Source(document=document, overrides=overrides, name=name, is_shipped=is_shipped)


def place(key: str | None, *texts: str, is_shipped: bool = False) -> tuple[str | None, int | None]:
    problem = source(*texts, is_shipped=is_shipped).place(Problem("is wrong", key=key))
    return problem.file, problem.line


def test_a_key_is_told_at_its_line_or_that_of_the_section_that_lacks_it() -> None:
    assert place("fleet.clients.0.device") == ("mine.yaml", 3)
    assert place("fleet.clients.0.via") == ("mine.yaml", 3)
    assert place("fleet.clients.1.via") == ("mine.yaml", 2)
    assert place("server.device") == ("mine.yaml", 1)


def test_an_id_with_a_dot_in_a_key_is_found() -> None:
    assert place("policy.cuts.rpi4.b") == ("mine.yaml", 7)
    assert place("policy.cuts.rpi4") == ("mine.yaml", 8)


@pytest.mark.parametrize("override", ["policy.cuts.rpi4=3", "policy.cuts={rpi4: 3}", "policy={cuts: {rpi4: 3}}"])
def test_an_override_of_a_key_or_of_what_it_is_in_is_to_blame(override: str) -> None:
    assert place("policy.cuts.rpi4", override) == ("--set", None)
    assert place("fleet.clients.0.device", override) == ("mine.yaml", 3)


def test_a_section_that_only_an_override_made_is_the_overrides_doing() -> None:
    assert place("server.network", "server.slots=2") == ("mine.yaml", 1)
    assert place("server", "server.slots=2") == ("--set", None)


def test_lines_of_a_shipped_file_are_not_told() -> None:
    assert place("fleet.clients.0.device", is_shipped=True) == ("quickstart", None)
    assert place("fleet.clients.0.device", "fleet.clients.0.device=x", is_shipped=True) == ("--set", None)


def test_problems_that_know_their_file_or_no_key_stay_as_they_are() -> None:
    elsewhere = Problem("is wrong", "device.yaml", 3, "memory_gib")
    assert source("memory_gib=3").place(elsewhere) == elsewhere
    assert place(None) == (None, None)


def test_placing_reraises_every_problem_with_its_place() -> None:
    with pytest.raises(InputError) as caught, source("rounds=3").placing():
        raise InputError(Problem("is wrong", key="rounds"), Problem("is wrong too", key="policy.kind"))
    assert [str(problem) for problem in caught.value.problems] == [
        "--set: rounds: is wrong",
        "mine.yaml:5: policy.kind: is wrong too",
    ]


# --- findings


def refuse(*keys: str) -> None:
    raise InputError(*(Problem("is wrong", key=key) for key in keys))


def test_findings_of_independent_parts_are_told_together_and_once_each() -> None:
    found = Findings()
    assert found.find(lambda: 3)() == 3
    found.find(lambda: refuse("a", "b"))
    found.find(lambda: refuse("b", "c"))
    with pytest.raises(InputError) as caught:
        found.tell()
    assert [problem.key for problem in caught.value.problems] == ["a", "b", "c"]


def test_what_needs_a_part_that_is_wrong_is_left_out_without_a_word() -> None:
    found = Findings()
    missing = found.find(lambda: refuse("a"))
    found.find(lambda: (missing(), refuse("b")))
    with pytest.raises(InputError) as caught:
        found.tell()
    assert [problem.key for problem in caught.value.problems] == ["a"]


def test_nothing_is_told_where_nothing_is_wrong() -> None:
    found = Findings()
    found.find(lambda: 3)
    found.tell()
