"""What a user's own policy or selection may return, what is said of anything else, and what it cannot harm."""

from pathlib import Path

import numpy as np
import pytest

from devices.problems import InputError
from simulator.own_code import OwnCode
from simulator.own_functions import checked_policy, checked_selection
from simulator.participation.oort import History
from simulator.protocols.rounds import Terms
from simulator.sections.participation import OwnSelection
from simulator.sections.policy import OwnPolicy
from tests.simulator.observed import observed

KIND = "mine.py:answer"
IMPORTS = """
import math
import sys
import numpy as np
from simulator.policies.observation import Decision
from simulator.protocols.rounds import FOR_EVERYBODY, Terms
from simulator.participation.selection import Cohort


class Unspeakable:
    def __repr__(self):
        raise RuntimeError("there are no words for it")
"""


def own(key, body):
    source = f"{IMPORTS}\n\ndef answer(*given):\n    {body}\n"
    return OwnCode(key=key, kind=KIND, file=Path("mine.py"), name="answer", source=source.encode())


def decided(body, memory=None):
    """Return what a policy with this body decides on clients 0 and 1, which may hold 1 to 11 blocks."""
    section = OwnPolicy(kind=KIND, settings={"part": 0.5})
    decision = checked_policy(own("policy.kind", body))([observed(0), observed(1)], memory, section)
    assert section.settings == {"part": 0.5}
    return decision


REACHABLE = (2, 5, 7)


def chosen(body, count=None):
    """Return whom a selection with this body chooses of clients 2, 5 and 7, whatever it does to what it is given."""
    section, history = OwnSelection(kind=KIND, count=count), History.empty(np.arange(8))
    reachable = np.array(REACHABLE)
    cohort = checked_selection(own("selection.kind", body))(reachable, np.random.default_rng(1), section, history)
    assert tuple(reachable) == REACHABLE
    assert history.last_round.flags.writeable  # the round goes on noting what happens
    assert cohort.clients.dtype == np.int64
    return cohort


def deciding(cuts="{0: 1, 1: 1}", reasons="{}"):
    return f"return Decision(cuts={cuts}, reasons={reasons}, memory={{}})"


def choosing(clients="[2]", terms="FOR_EVERYBODY"):
    return f"return Cohort(clients={clients}, terms={terms})"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return None", "expected a Decision, got null"),
        ("return {0: 1, 1: 1}", "expected a Decision, got a mapping"),
        ("yield Decision(cuts={}, reasons={}, memory={})", "expected a Decision, got <generator"),
        ("return Unspeakable()", "there are no words for it"),
        (deciding(cuts="None"), "expected cuts as a mapping by client, got null"),
        (deciding(cuts="[1, 1]"), "expected cuts as a mapping by client, got a list"),
        (deciding(cuts="{0: 1}"), "client 1 has the cut null; allowed: whole numbers from 1 to 11"),
        (deciding(cuts="{0: 3.0, 1: 1}"), "client 0 has the cut 3.0; allowed: whole numbers"),
        (deciding(cuts="{0: math.nan, 1: 1}"), "client 0 has the cut nan"),
        (deciding(cuts="{0: True, 1: 1}"), "client 0 has the cut true"),
        (deciding(cuts="{0: '3', 1: 1}"), "client 0 has the cut '3'"),
        (deciding(cuts="{0: np.array([3]), 1: 1}"), r"client 0 has the cut array\(\[3\]\)"),
        (deciding(cuts="{0: 0, 1: 1}"), "client 0 has the cut 0"),
        (deciding(reasons="None"), "expected reasons as a mapping by client, got null"),
        (deciding(reasons="'fast'"), "expected reasons as a mapping by client, got 'fast'"),
        (deciding(reasons="{0: 3}"), "client 0 has the reason 3; allowed: a line of printable text"),
        (deciding(reasons="{0: None}"), "client 0 has the reason null"),
        (deciding(reasons="{1: 'two\\nlines'}"), "client 1 has the reason"),
        (deciding(reasons="{1: chr(0xd800)}"), "client 1 has the reason"),  # no text that a file could hold
    ],
)
def test_what_a_policy_cannot_return_is_named(body, why):
    with pytest.raises(
        InputError, match=rf"^policy\.kind: 'answer' returned what cannot be used: {why}.*\(mine\.py\)$"
    ):
        decided(body)


def test_a_policy_may_decide_in_numbers_of_numpy_and_on_more_than_it_was_asked():
    decision = decided(deciding(cuts="{np.int64(0): np.uint8(3), 1: 11, 5: 99}", reasons="{0: 'fast', 5: None}"))
    assert dict(decision.cuts) == {0: 3, 1: 11}
    assert {type(cut) for cut in decision.cuts.values()} == {int}
    assert dict(decision.reasons) == {0: "fast", 1: "answer"}


@pytest.mark.parametrize("memory", [None, [1, 2], {"calls": 1}, 0.5])
def test_whatever_a_policy_returns_as_memory_is_kept_as_it_is(memory):
    assert decided("return Decision(cuts={0: 1, 1: 1}, reasons={}, memory=given[1])", memory).memory is memory


def test_a_policy_that_spoils_what_it_is_given_spoils_nothing():
    decision = decided(f"given[0].clear(); given[2].settings['part'] = 7; {deciding()}")
    assert dict(decision.cuts) == {0: 1, 1: 1}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return [2]", "expected a Cohort, got a list"),
        (choosing("None"), "expected clients as an array or another collection, got null"),
        (choosing("2"), "expected clients as an array or another collection, got 2"),
        (choosing("'257'"), r"expected clients as one row of whole numbers, got 1 dimension\(s\) of <U1"),
        (choosing("np.array([2.0])"), r"expected clients as one row of whole numbers, got 1 dimension\(s\) of float64"),
        (choosing("[2, math.nan]"), "expected clients as one row of whole numbers"),
        (
            choosing("np.array([[2, 5]])"),
            r"expected clients as one row of whole numbers, got 2 dimension\(s\) of int64",
        ),
        (choosing("np.array(2)"), "expected clients as one row of whole numbers"),
        (choosing("np.array([2, 5], dtype=object)"), "expected clients as one row of whole numbers"),
        (choosing("given[0] > 2"), r"expected clients as one row of whole numbers, got 1 dimension\(s\) of bool"),
        (choosing("[[2], [5, 7]]"), "setting an array element"),  # as NumPy says it
        (choosing("[2, 3]"), "client 3 is none of those who can be reached"),
        (choosing("[-1]"), "client -1 is none of those"),
        (choosing("np.array([2**64 - 1], dtype=np.uint64)"), "client -1 is none of those"),
        (choosing("[5, 2, 5]"), "client 5 is there more than once"),
        (choosing("[]"), "expected from 1 to 3 clients, got 0"),
        (choosing(terms="None"), "expected terms as Terms, got null"),
        *[
            (
                choosing(terms=f"Terms(num_needed={number})"),
                "num_needed is .*; allowed: whole numbers from 1 on, or None",
            )
            for number in ("0", "-1", "1.0", "True", "'2'", "math.nan")
        ],
        *[
            (choosing(terms=f"Terms(deadline_s={number})"), "deadline_s is .*; allowed: numbers above 0, or math.inf")
            for number in ("0", "-1.0", "math.nan", "None", "'9'", "True", "np.array([9.0])")
        ],
        (choosing(terms="Terms(deadline_s=10**400)"), "int too large to convert to float"),
    ],
)
def test_what_a_selection_cannot_return_is_named(body, why):
    with pytest.raises(InputError, match=rf"^selection\.kind: 'answer' returned what cannot be used: {why}"):
        chosen(body)


def test_no_more_are_chosen_than_the_section_says():
    assert chosen(choosing("given[0]"), count=3).clients.tolist() == [2, 5, 7]
    with pytest.raises(InputError, match=r"expected from 1 to 2 clients, got 3"):
        chosen(choosing("given[0]"), count=2)


@pytest.mark.parametrize(
    "clients", ["[7, 2]", "(7, 2)", "{7, 2}", "np.array([7, 2], dtype=np.uint8)", "range(2, 8, 5)"]
)
def test_a_selection_may_choose_in_any_order_and_collection(clients):
    assert chosen(choosing(clients)).clients.tolist() == [2, 7]


def test_terms_may_be_numbers_of_numpy_and_ask_for_more_than_take_part():
    cohort = chosen(choosing(terms="Terms(num_needed=np.int64(5), deadline_s=np.float32(9))"))
    assert cohort.terms == Terms(num_needed=5, deadline_s=9.0)
    assert [type(cohort.terms.num_needed), type(cohort.terms.deadline_s)] == [int, float]
    assert chosen(choosing(terms="Terms(deadline_s=math.inf)")).terms == Terms()


def test_a_selection_that_spoils_what_it_is_given_spoils_nothing():
    assert chosen(f"given[0][:] = 0; {choosing('[2]')}").clients.tolist() == [2]
    with pytest.raises(InputError, match=r"'answer' failed: ValueError: .*read-only, line \d+ \(mine\.py\)"):
        chosen(f"given[3].last_round[0] = 9; {choosing('[2]')}")


@pytest.mark.parametrize("body", ["exit(3)", "sys.exit('enough')", "raise SystemExit"])
def test_code_that_exits_is_an_error_of_that_code(body):
    with pytest.raises(InputError, match=r"policy\.kind: 'answer' failed: SystemExit: .*, line \d+ \(mine\.py\)"):
        decided(body)


def test_an_interruption_within_own_code_is_one():
    with pytest.raises(KeyboardInterrupt):
        decided("raise KeyboardInterrupt")
