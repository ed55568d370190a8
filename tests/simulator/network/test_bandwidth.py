"""Courses of bandwidth: values at a time, and when they change."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.network.bandwidth import Interrupted, Recorded, Wavering, piece


def test_a_record_holds_from_each_time_on_and_begins_with_what_was_drawn() -> None:
    course = Recorded(9.0, (1.0, 4.0), (3.0, 5.0))
    assert course.at(0.0) == (9.0, 1.0)
    assert course.at(1.0) == (3.0, 4.0)  # at its own time a point holds already
    assert course.at(3.9) == (3.0, 4.0)
    assert course.at(4.0) == (5.0, math.inf)


def test_a_record_with_a_period_begins_again_and_has_its_last_rate_before_its_first() -> None:
    course = Recorded(9.0, (1.0, 4.0), (3.0, 5.0), period_s=10.0)
    assert course.at(0.0) == (5.0, 1.0)
    assert course.at(7.0) == (5.0, 10.0)
    assert course.at(10.0) == (5.0, 11.0)
    assert course.at(31.0) == (3.0, 34.0)


def test_a_wavering_rate_holds_for_an_interval() -> None:
    course = Wavering(lambda number: 10.0 + number, 2.0)
    assert [course.at(time_s) for time_s in (0.0, 1.9, 2.0, 6.5)] == [
        (10.0, 2.0),
        (10.0, 2.0),
        (11.0, 4.0),
        (13.0, 8.0),
    ]


def test_an_outage_cuts_into_a_course_and_ends_with_what_holds_then() -> None:
    course = Interrupted(Recorded(9.0, (2.0, 6.0), (3.0, 5.0)), ((1.0, 4.0), (6.0, 7.0)))
    # 9 until 1; nothing until 4, past the point at 2; then its 3 until 6, when the next outage and the next point come.
    found = [course.at(time_s) for time_s in (0.0, 1.0, 3.0, 4.0, 6.0, 7.0)]
    assert found == [(9.0, 1.0), (0.0, 4.0), (0.0, 4.0), (3.0, 6.0), (0.0, 7.0), (5.0, math.inf)]
    assert Interrupted(8.0, ((1.0, 4.0),)).at(4.0) == (8.0, math.inf)


@given(st.floats(0, 1e9), st.floats(1e-3, 1e4))
def test_every_time_lies_in_its_piece_and_the_next_piece_begins_at_its_end(now_s: float, length_s: float) -> None:
    start_s, end_s = piece(now_s, length_s)
    assert start_s <= now_s < end_s
    assert piece(end_s, length_s)[0] == end_s


@given(
    st.lists(st.floats(0, 0.999), min_size=1, max_size=5, unique=True),
    st.floats(1e-2, 1e3),
    st.floats(0, 1e6),
)
def test_following_a_periodic_record_from_change_to_change_always_goes_on(
    parts: list[float], period_s: float, now_s: float
) -> None:
    # Also where times are so large that adding them rounds: or the clock would stand still.
    times_s = tuple(sorted(part * period_s for part in parts))
    course = Recorded(1.0, times_s, tuple(float(n) for n in range(len(times_s))), period_s)
    for _ in range(12):
        _, next_s = course.at(now_s)
        assert next_s > now_s
        assert next_s - now_s <= period_s * (1 + 1e-9)
        now_s = next_s


@pytest.mark.parametrize("interval_s", [0.1, 0.3, 1e-3])
def test_intervals_are_numbered_without_gaps(interval_s: float) -> None:
    course = Wavering(float, interval_s)
    now_s, numbers = 0.0, []
    for _ in range(2000):
        number, now_s = course.at(now_s)
        numbers.append(number)
    assert numbers == [float(n) for n in range(2000)]
