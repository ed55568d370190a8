import math

import numpy as np
import pytest

from devices.problems import InputError
from simulator.draws import generator
from simulator.participation.selection import at_random, check_selection, deadline, everybody, over_commit
from simulator.protocols.rounds import Terms
from simulator.sections.participation import (
    AllSelection,
    DeadlineSelection,
    OverCommitSelection,
    RandomSelection,
    Selection,
)

FLEET = np.arange(1000)


def draws(number: int = 1) -> np.random.Generator:
    return generator(0, "selection", round=number)


def test_everybody_takes_part_and_the_round_waits_for_all() -> None:
    cohort = everybody(np.array([3, 5]), 10, draws(), AllSelection())
    assert cohort.clients.tolist() == [3, 5]
    assert cohort.terms == Terms(num_needed=None, deadline_s=math.inf)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (RandomSelection(), 100),  # a tenth, where nothing is said
        (RandomSelection(fraction=0.25), 250),
        (RandomSelection(fraction=0.0001), 1),  # never nobody
        (RandomSelection(count=7), 7),
    ],
)
def test_a_random_selection_has_the_size_that_is_asked_for(section: RandomSelection, expected: int) -> None:
    clients = at_random(FLEET, 1000, draws(), section).clients
    assert len(set(clients.tolist())) == len(clients) == expected
    assert (np.diff(clients) > 0).all()  # in the order of their numbers


def test_a_fraction_is_one_of_the_fleet_and_not_of_those_who_can_be_reached() -> None:
    reachable = FLEET[::2]
    assert len(at_random(reachable, 1000, draws(), RandomSelection(fraction=0.3)).clients) == 300
    assert at_random(reachable, 1000, draws(), RandomSelection(fraction=0.7)).clients is reachable


def test_a_random_selection_favours_nobody() -> None:
    times = np.zeros(1000)
    for number in range(1, 201):
        times[at_random(FLEET, 1000, draws(number), RandomSelection(count=100)).clients] += 1
    # 200 draws of 1 in 10: mean 20, standard deviation sqrt(200 * 0.1 * 0.9) = 4.24
    assert times.mean() == 20
    assert times.std() == pytest.approx(4.24, rel=0.1)


def test_another_client_within_reach_displaces_one_at_most() -> None:
    fewer = np.delete(FLEET, 17)
    mine = set(at_random(FLEET, 1000, draws(), RandomSelection(count=100)).clients.tolist())
    theirs = set(at_random(fewer, 1000, draws(), RandomSelection(count=100)).clients.tolist())
    assert len(mine - theirs) == len(theirs - mine) <= 1


@pytest.mark.parametrize(("count", "factor", "asked"), [(10, 1.3, 13), (10, 1.1, 11), (3, 1.5, 5), (10, 1.0, 10)])
def test_over_commitment_asks_for_more_than_it_needs(count: int, factor: float, asked: int) -> None:
    cohort = over_commit(FLEET, 1000, draws(), OverCommitSelection(count=count, factor=factor))
    assert len(cohort.clients) == asked
    assert cohort.terms == Terms(num_needed=count, deadline_s=math.inf)
    in_time = over_commit(FLEET, 1000, draws(), OverCommitSelection(count=count, deadline_s=9.0))
    assert in_time.terms == Terms(num_needed=count, deadline_s=9.0)


@pytest.mark.parametrize(
    ("section", "expected"),
    [(DeadlineSelection(), 1000), (DeadlineSelection(fraction=0.2), 200), (DeadlineSelection(count=3), 3)],
)
def test_a_deadline_may_be_set_for_everybody_or_for_some(section: DeadlineSelection, expected: int) -> None:
    cohort = deadline(FLEET, 1000, draws(), section)
    assert len(cohort.clients) == expected
    assert cohort.terms == Terms(num_needed=None, deadline_s=600.0)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (AllSelection(min_clients=11), "selection.min_clients: the fleet has 10 clients, got 11"),
        (RandomSelection(count=11), "selection.count: the fleet has 10 clients, got 11"),
        (OverCommitSelection(count=11), "selection.count: the fleet has 10 clients, got 11"),
        (DeadlineSelection(count=11), "selection.count: the fleet has 10 clients, got 11"),
    ],
)
def test_more_clients_than_there_are_cannot_be_asked_for(section: Selection, expected: str) -> None:
    with pytest.raises(InputError) as raised:
        check_selection(section, 10)
    assert str(raised.value) == expected
    check_selection(section, 11)
