"""Large fleets: only who takes part costs anything, and nothing is left of a round but its records."""

import gc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from devices.problems import InputError
from simulator.clock.collector import paused
from simulator.clock.world import Participant
from simulator.learning.tasks import CostOnly
from simulator.network.fluid import Link
from simulator.participation.choosing import SELECTIONS
from simulator.participation.selection import largest_cohort
from simulator.records.recorder import RunWriter
from simulator.run import Simulation
from simulator.scenario import Scenario
from simulator.sections.participation import Selection
from simulator.setting import resolve

PHONES = {
    "rounds": 3,
    "workload": {"dataset": "lengths", "local_steps": 2},
    "fleet": {"mixture": "phones-2024", "count": 5_000},
    "policy": {"kind": "fixed"},
    "selection": {"kind": "random", "count": 40},
    "execution": {"trainer": "cost-only"},
}


def phones(**changes: object) -> Scenario:
    return Scenario.from_mapping({**PHONES, **changes})


def alive() -> Counter[type]:
    gc.collect()
    return Counter(type(thing) for thing in gc.get_objects() if type(thing) in {Participant, Link})


def test_a_round_leaves_nobody_and_no_link_of_anybody_in_memory() -> None:
    before, seen = alive(), []
    setting = resolve(phones())
    simulation = Simulation(setting, CostOnly(), RunWriter(None, {}), lambda _: seen.append(alive() - before))
    simulation.run()
    assert len(seen) == 3
    for counts in seen:
        assert counts[Participant] == 0
        assert counts[Link] <= 4  # the server's own, and those that the last message up and the last one down came by


def test_the_clock_keeps_state_of_those_alone_who_have_taken_part() -> None:
    writer = RunWriter(None, {})
    simulation = Simulation(resolve(phones()), CostOnly(), writer, lambda _: None)
    simulation.run()
    clients = writer.records().clients
    assert set(simulation._cuts.now) == set(clients.client)
    assert 40 < len(simulation._cuts.now) <= 3 * 40
    assert (clients.groupby("round").client.nunique() == 40).all()


@given(
    section=st.one_of(
        st.just({"kind": "all"}),
        st.fixed_dictionaries({"kind": st.sampled_from(["random", "deadline"]), "count": st.integers(1, 300)}),
        st.fixed_dictionaries({"kind": st.sampled_from(["random", "deadline"]), "fraction": st.floats(0.01, 1.0)}),
        st.fixed_dictionaries({"kind": st.sampled_from(["random", "deadline"])}),
        st.fixed_dictionaries(
            {"kind": st.just("over-commit"), "count": st.integers(1, 300), "factor": st.floats(1.0, 3.0)}
        ),
    ),
    num_clients=st.integers(1, 250),
)
def test_no_round_has_more_clients_than_the_server_has_room_for(section: dict[str, object], num_clients: int) -> None:
    selection = TypeAdapter(Selection).validate_python(section, strict=False)
    everybody = np.arange(num_clients)
    cohort = SELECTIONS[selection.kind](everybody, num_clients, np.random.default_rng(0), selection)
    assert len(cohort.clients) == largest_cohort(selection, num_clients)


def test_the_server_holds_copies_for_a_rounds_participants_and_not_for_the_fleet() -> None:
    fleet = {"mixture": "phones-2024", "count": 500_000}
    assert len(resolve(phones(fleet=fleet)).fleet) == 500_000
    with pytest.raises(InputError, match=r"server\.device: .* cannot hold the server's part for 500,000 clients"):
        resolve(phones(fleet=fleet, selection={"kind": "all"}))


def test_a_million_is_what_it_says() -> None:
    million = Scenario.load("million")
    assert (million.fleet.mixture, million.fleet.count) == ("phones-2024", 1_000_000)
    assert (million.rounds, million.workload.local_steps, million.execution.trainer) == (20, 1, "cost-only")
    assert largest_cohort(million.selection, 1_000_000) == 10_000
    assert million.availability.kind == "catalogue"


@pytest.mark.parametrize("enabled", [True, False])
def test_the_search_for_cycles_goes_on_as_before_after_a_pause(enabled: bool) -> None:
    def break_off() -> None:
        with paused():
            assert not gc.isenabled()
            raise ZeroDivisionError

    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ZeroDivisionError):
            break_off()
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
