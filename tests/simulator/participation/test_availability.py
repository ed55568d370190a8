"""When a round can start and whom it can ask; what a scenario and the catalogue come to."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices.catalogue.lookup import Catalogue
from devices.problems import InputError
from simulator.participation.availability import LONGEST_WAIT_S, Availability, AvailabilityModel, availability_model
from simulator.participation.trace_file import Trace, read_trace
from simulator.scenario import Scenario

LISTED = {"clients": [{"device": "rpi5-8gb", "network": "lan-1gbe", "count": 3}]}
PHONES = {"mixture": "phones-2024", "count": 3}


def model(folder: Path | None = None, fleet: Any = LISTED, **sections: Any) -> AvailabilityModel:
    scenario = Scenario.from_mapping({"fleet": fleet, **sections}, folder=folder)
    return availability_model(scenario, Catalogue([folder] if folder else []), 3)


def sessions(folder: Path, rows: str) -> Trace:
    (folder / "sessions.csv").write_text(f"client,start_s,end_s\n{rows}")
    return read_trace(folder / "sessions.csv", 3)


def availability(process: Any, **changes: Any) -> Availability:
    return Availability(AvailabilityModel(process=process, **{"failure_frac": 0.0, **changes}), 3, 0)


# --- when a round can start


def test_where_everybody_is_always_there_a_round_starts_at_once() -> None:
    always = availability(None)
    assert always.next_start_s(7.0, 1, 3) == 7.0
    assert always.reachable().tolist() == [0, 1, 2]
    assert np.isinf(always.leaves_s(np.array([0, 2]))).all()


def test_a_round_waits_until_enough_clients_are_there_at_once(tmp_path: Path) -> None:
    # 0 is there 10 .. 20, 1 is there 15 .. 30, 2 is there 25 .. 40: two at once from 15 on
    rows = "0,10,20\n1,15,30\n2,25,40\n"
    assert availability(sessions(tmp_path, rows)).next_start_s(0.0, 1, 1) == 10.0
    two = availability(sessions(tmp_path, rows))
    assert two.next_start_s(0.0, 1, 2) == 15.0
    assert two.reachable().tolist() == [0, 1]
    assert two.leaves_s(two.reachable()).tolist() == [20.0, 30.0]
    assert two.next_start_s(21.0, 2, 2) == 25.0  # 0 has gone
    assert two.reachable().tolist() == [1, 2]


def test_a_round_that_can_never_start_is_told_by_infinity(tmp_path: Path) -> None:
    assert math.isinf(availability(sessions(tmp_path, "0,10,20\n1,15,30\n")).next_start_s(0.0, 1, 3))
    assert math.isinf(availability(sessions(tmp_path, "0,10,20\n")).next_start_s(20.0, 1, 1))


def test_who_is_left_out_is_neither_waited_for_nor_counted(tmp_path: Path) -> None:
    # 0 is left out: it would come first, and with it there would be two from 15 on
    def without_first(process: Any) -> Availability:
        model = AvailabilityModel(process=process, failure_frac=0.0)
        return Availability(model, 3, 0, np.array([True, False, False]))

    rows = "0,10,20\n1,15,30\n2,25,40\n"
    two = without_first(sessions(tmp_path, rows))
    assert two.next_start_s(0.0, 1, 2) == 25.0
    assert two.reachable().tolist() == [1, 2]
    assert without_first(sessions(tmp_path, rows)).next_start_s(0.0, 1, 1) == 15.0
    for process in (sessions(tmp_path, rows), None):
        assert math.isinf(without_first(process).next_start_s(26.0, 1, 3))  # however many of the others are there


def test_nobody_waits_longer_than_a_year(tmp_path: Path) -> None:
    rare = sessions(tmp_path, f"0,{LONGEST_WAIT_S + 1},{LONGEST_WAIT_S + 2}\n")
    assert math.isinf(availability(rare).next_start_s(0.0, 1, 1))
    assert availability(rare).next_start_s(2.0, 1, 1) == LONGEST_WAIT_S + 1
    # three heads at once have a probability of 1e-9
    assert math.isinf(availability(0.001).next_start_s(0.0, 1, 3))


def test_a_coin_that_shows_nobody_is_tossed_again_a_minute_later() -> None:
    coins = availability(0.2)
    starts = [coins.next_start_s(1000.0 * number, number, 1) - 1000.0 * number for number in range(1, 200)]
    assert set(starts) <= {60.0 * attempt for attempt in range(20)}
    # At least one of three with probability 1 - 0.8 ** 3 = 0.488 at each toss: 1.049 tosses fail on average
    assert np.mean(starts) / 60 == pytest.approx(0.512 / 0.488, abs=0.5)


def test_no_round_starts_while_the_server_is_unreachable(tmp_path: Path) -> None:
    out = {"outages_s": ((5.0, 12.0), (19.0, 22.0))}
    server = availability(sessions(tmp_path, "0,10,20\n1,30,40\n"), **out)
    assert server.next_start_s(5.0, 1, 1) == 12.0
    assert server.next_start_s(19.0, 2, 1) == 30.0  # back at 22, when 0 has gone
    assert availability(None, **out).next_start_s(4.9, 1, 1) == 4.9


# --- who fails


def test_the_stated_share_of_clients_fails_at_moments_spread_over_the_round() -> None:
    failing = availability(None, failure_frac=0.2)
    moments = failing.failures(np.arange(10_000), 1)
    failed = np.array([moment for moment in moments if moment is not None])
    assert len(failed) / 10_000 == pytest.approx(0.2, abs=0.02)  # five standard errors
    assert np.histogram(failed, bins=4, range=(0, 1))[0] == pytest.approx(np.full(4, 500), rel=0.25)
    assert failing.failures(np.arange(10_000), 2) != moments
    assert failing.failures(np.array([17, 4711]), 1) == [moments[17], moments[4711]]


def test_nobody_fails_where_nothing_is_said() -> None:
    assert availability(None).failures(np.arange(3), 1) == [None] * 3


# --- what a scenario says


def test_listed_clients_are_always_there_and_drawn_ones_as_their_mixture_says() -> None:
    assert model().process is None
    drawn = model(fleet=PHONES)
    assert drawn.process.id == "diurnal-phone"  # type: ignore[union-attr]
    assert drawn.failure_frac == 0.08  # of the profile
    assert model(fleet=PHONES, availability={"kind": "always-on"}).process is None


def test_a_profile_is_named_by_its_id_and_may_be_ones_own(tmp_path: Path) -> None:
    assert model(availability={"id": "stunner-charged"}).process.id == "stunner-charged"  # type: ignore[union-attr]
    (tmp_path / "office.yaml").write_text("type: availability\nprocess: bernoulli\navailable_frac: 0.4\n")
    assert model(tmp_path, availability={"id": "office", "failure_frac": 0.25}) == AvailabilityModel(
        process=0.4, failure_frac=0.25
    )


def test_a_trace_lies_beside_its_scenario(tmp_path: Path) -> None:
    sessions(tmp_path, "0,0,1\n")
    found = model(tmp_path, availability={"kind": "trace", "file": "sessions.csv"})
    assert found.process.num_absent == 2  # type: ignore[union-attr]


def test_outages_that_touch_are_one() -> None:
    windows = [{"start_s": 8, "end_s": 9}, {"start_s": 1, "end_s": 3}, {"start_s": 3, "end_s": 5}]
    assert model(server={"outages": windows}).outages_s == ((1.0, 5.0), (8.0, 9.0))


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"id": "diurnal-phones"}, "unknown availability 'diurnal-phones'; did you mean 'diurnal-phone'?"),
        (
            {"id": "flgo-sln"},
            "id: availability 'flgo-sln' cannot be simulated: its numbers are only told in words: ",
        ),
        ({"id": "google-gboard"}, "id: availability 'google-gboard' cannot be simulated: only totals are known of it"),
        ({"kind": "trace", "file": "none.csv"}, "file: none.csv: cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_simulated_is_refused(section: Any, expected: str) -> None:
    with pytest.raises(InputError) as raised:
        model(availability=section)
    assert str(raised.value).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("process: sinusoid\navailable_frac: 0.5\n", "a sinusoid needs an available_frac above 0 and a diurnal_ratio"),
        ("process: sinusoid\navailable_frac: 0.8\ndiurnal_ratio: 3\n", "with a mean of 0.8 and a ratio of 3 its maxi"),
        ("process: bernoulli\n", "no available_frac"),
    ],
)
def test_a_profile_of_ones_own_that_says_too_little_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"type: availability\n{text}")
    with pytest.raises(InputError) as raised:
        model(tmp_path, availability={"id": "mine"})
    assert f"availability 'mine' cannot be simulated: {expected}" in str(raised.value)


def test_a_run_is_identified_by_the_numbers_of_a_profile_and_not_by_its_words(tmp_path: Path) -> None:
    identity = model(availability={"id": "diurnal-phone"}).identity()
    assert identity["client_beta"] == (1.16, 3.64)
    assert not {"notes", "provenance", "label"} & set(identity)
    assert model().identity() == {}
    traced = AvailabilityModel(process=sessions(tmp_path, "0,0,1\n"), failure_frac=0.0)
    assert len(traced.identity()["trace"]) == 64


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"kind": "always-on"}, "always on"),
        ({"id": "diurnal-phone"}, "diurnal-phone: a client is there 24% of the time on average; 8% of a round's"),
        ({"id": "diurnal-desktop"}, "diurnal-desktop: a client is there 40% of the time; 3% of a round's participants"),
        ({"kind": "bernoulli"}, "a client is there in 80% of the rounds"),
    ],
)
def test_availability_is_told_in_words(section: Any, expected: str) -> None:
    assert model(availability=section).words().startswith(expected)
