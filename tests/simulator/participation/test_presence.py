"""Clients that come and go: long-run shares, daily courses, and that nothing depends on who looks when."""

import dataclasses
import math

import numpy as np
import pytest

from devices.availability import AvailabilityProfile
from devices.catalogue.lookup import Catalogue
from simulator.participation.presence import (
    DAY_S,
    CoinTosses,
    DailyCourse,
    DailySessions,
    Presence,
    Renewal,
    Sessions,
    client_shares,
)
from simulator.participation.trace_file import Trace

HOUR_S = 3600.0
CATALOGUE = Catalogue()


def profile(name: str, **changes: object) -> AvailabilityProfile:
    return dataclasses.replace(CATALOGUE.availability(name), **changes)


def course(presence: Presence, days: int, every_h: int = 1) -> np.ndarray:
    """Return the share of clients that are there, by day and hour."""
    shares = []
    for hour in range(0, 24 * days, every_h):
        presence.look(hour * HOUR_S, 1, 0)
        shares.append(presence.here.mean())
    return np.array(shares).reshape(days, -1)


def swing(by_hour: np.ndarray) -> tuple[float, float]:
    """Return the amplitude of a daily course and the hour of its peak: its first harmonic."""
    harmonic = np.fft.fft(by_hour)[1] / len(by_hour)
    return 2 * abs(harmonic), -np.angle(harmonic) / (2 * np.pi) * 24 % 24


def test_who_is_always_there_needs_no_look():
    everybody = Presence(3)
    assert everybody.here.all()
    assert np.isinf(everybody.until_s).all()


# --- coins


def test_coins_are_tossed_for_each_round_and_each_attempt():
    coins = CoinTosses(20_000, 0, 0.3)
    tossed = []
    for number, attempt in [(1, 0), (2, 0), (2, 1)]:
        coins.look(0.0, number, attempt)
        tossed.append(coins.here)
        assert coins.here.mean() == pytest.approx(0.3, abs=0.017)  # five standard errors
    assert not (tossed[0] == tossed[1]).all()
    assert not (tossed[1] == tossed[2]).all()
    assert np.isinf(coins.until_s).all()  # nobody goes within a round
    assert coins.next_look_s(100.0, 1) == 160.0


# --- renewal


@pytest.mark.parametrize("name", ["diurnal-phone", "stunner-batt80", "stunner-charged-15min"])
def test_a_renewal_without_a_daily_course_has_its_share_of_time_from_the_start_on(name):
    """Every client's own share is its draw of the Beta distribution, whose mean is a / (a + b)."""
    steady = profile(name, diurnal_amplitude_frac=None)
    a, b = steady.client_beta
    by_day = course(Renewal(steady, 8000, 0, 0.0), days=6, every_h=4).mean(axis=1)
    shares = client_shares(steady, 8000, 0)
    assert shares.mean() == pytest.approx(a / (a + b), abs=0.01)
    # A client's hours of one day hang together: the standard error is about that of the shares, 0.2 / sqrt(8000).
    assert by_day == pytest.approx(np.full(6, shares.mean()), abs=5 * 0.4 / math.sqrt(8000))


def test_each_client_is_there_for_its_own_share_of_time():
    steady = profile("diurnal-phone", diurnal_amplitude_frac=None)
    clients = Renewal(steady, 300, 3, 0.0)
    looks = np.arange(0.0, 120 * DAY_S, DAY_S / 2)
    there = np.zeros(300)
    for now_s in looks:
        clients.look(now_s, 1, 0)
        there += clients.here
    shares = client_shares(steady, 300, 3)
    assert np.corrcoef(there / len(looks), shares)[0, 1] > 0.95
    assert there.mean() / len(looks) == pytest.approx(shares.mean(), rel=0.05)


@pytest.mark.parametrize("name", ["diurnal-phone", "stunner-batt80", "stunner-charged-15min"])
def test_a_renewal_follows_the_daily_course_of_its_profile(name):
    """The limits are those of the documentation: mean within 6 %, amplitude within 20 %, peak within half an hour."""
    measured = profile(name)
    by_hour = course(Renewal(measured, 8000, 0, 0.0), days=6)[1:].mean(axis=0)
    amplitude, peak_h = swing(by_hour)
    assert by_hour.mean() == pytest.approx(client_shares(measured, 8000, 0).mean(), rel=0.06)
    assert amplitude == pytest.approx(measured.diurnal_amplitude_frac, rel=0.2)
    assert peak_h == pytest.approx(measured.peak_local_h, abs=0.5)


def test_a_run_may_start_at_any_local_hour():
    by_hour = course(Renewal(profile("diurnal-phone"), 4000, 0, 20.0), days=4)[1:].mean(axis=0)
    _, peak_h = swing(by_hour)
    assert peak_h == pytest.approx(3.6 + 4.0, abs=1.0)  # 3.6 o'clock is 7.6 h after 20 o'clock


def test_times_there_have_the_lengths_of_the_profile():
    steady = profile("diurnal-phone", diurnal_amplitude_frac=None)
    clients = Renewal(steady, 3000, 1, 0.0)
    lengths_s: list[float] = []
    comes_s = np.full(3000, np.nan)
    here = clients.here.copy()
    for now_s in np.arange(0.0, 3 * DAY_S, 300.0):
        clients.look(now_s, 1, 0)
        came, went = clients.here & ~here, here & ~clients.here
        lengths_s.extend((now_s - comes_s[went])[np.isfinite(comes_s[went])])
        comes_s[came] = now_s
        comes_s[went] = np.nan
        here = clients.here.copy()
    # Lengths below the 300 s between looks are lost and those cut off by the end are short: the median is robust.
    assert np.median(lengths_s) == pytest.approx(math.exp(8.28), rel=0.12)


def test_a_client_is_there_or_not_whenever_and_however_often_somebody_looks():
    often, once = (Renewal(profile("diurnal-phone"), 500, 5, 0.0) for _ in range(2))
    for now_s in np.linspace(0.0, 5 * DAY_S, 200):
        often.look(now_s, 1, 0)
    once.look(5 * DAY_S, 1, 0)
    assert (often.here == once.here).all()
    assert (often.until_s == once.until_s).all()


@pytest.mark.parametrize("name", ["diurnal-phone", "diurnal-phone-strong"])
def test_further_clients_change_nobody_elses_times(name):
    stated = profile(name)
    kind = Renewal if stated.process == "on-off-renewal" else DailySessions
    few, many = (kind(stated, num_clients, 0, 0.0) for num_clients in (50, 5000))
    for now_s in (0.0, 3 * HOUR_S, 2 * DAY_S):
        few.look(now_s, 1, 0)
        many.look(now_s, 1, 0)
        assert (few.here == many.here[:50]).all()
        assert few.until_s == pytest.approx(many.until_s[:50], rel=1e-12)  # vector code may round by length


def test_the_next_look_is_when_enough_of_the_absent_come():
    clients = Sessions(trace([5.0, 9.0], [2.0, 3.0], [7.0, 8.0]))
    clients.look(0.0, 1, 0)
    assert [clients.next_look_s(0.0, missing) for missing in (1, 2, 3)] == [2.0, 5.0, 7.0]


# --- daily sessions


@pytest.mark.parametrize("name", ["diurnal-desktop", "diurnal-phone-strong"])
def test_the_share_of_clients_in_a_session_is_the_sinusoid(name):
    stated = profile(name)
    by_hour = course(DailySessions(stated, 8000, 0, 0.0), days=3).mean(axis=0)
    amplitude = (stated.diurnal_ratio - 1) / (stated.diurnal_ratio + 1)
    hours = np.arange(24)
    expected = stated.available_frac * (1 + amplitude * np.cos((hours - 4.0) * 2 * np.pi / 24))
    assert by_hour == pytest.approx(expected, abs=5 * 0.5 / math.sqrt(3 * 8000))
    assert by_hour.max() / by_hour.min() == pytest.approx(stated.diurnal_ratio, rel=0.1)


def test_a_session_that_lasts_all_day_goes_on_into_a_day_that_does_too():
    # With a ratio of 1.5 and a mean of 0.8 the sinusoid is never below 0.64: most days are whole.
    busy = profile("diurnal-desktop", available_frac=0.8, diurnal_ratio=1.5)
    clients = DailySessions(busy, 2000, 0, 0.0)
    clients.look(0.0, 1, 0)
    stays_s = clients.until_s[clients.here]
    assert stays_s.max() > 3 * DAY_S
    assert stays_s.min() > 0


# --- sessions from a file


def trace(*clients: list[float]) -> Trace:
    times = [[*own, math.inf] for own in clients]
    first = np.cumsum([0, *(len(own) for own in times[:-1])])
    return Trace(changes_s=np.concatenate(times), first=first, num_absent=0, digest="")


def test_a_client_is_there_from_when_it_comes_and_not_any_more_when_it_goes():
    clients = Sessions(trace([0.0, 10.0, 20.0, 30.0], [], [10.0, 20.0]))
    seen = {}
    for now_s in (0.0, 9.9, 10.0, 19.9, 20.0, 30.0, 1e9):
        clients.look(now_s, 1, 0)
        seen[now_s] = clients.here.tolist()
    assert seen == {
        0.0: [True, False, False],
        9.9: [True, False, False],
        10.0: [False, False, True],
        19.9: [False, False, True],
        20.0: [True, False, False],
        30.0: [False, False, False],
        1e9: [False, False, False],
    }
    assert np.isinf(clients.next_look_s(1e9, 1))


# --- the clock of a daily course


def test_a_daily_course_is_as_fast_as_any_clock_over_a_day_and_faster_at_its_peak():
    clock = DailyCourse(fastest_s=6 * HOUR_S, swing=0.5)
    starts = np.linspace(0.0, 3 * DAY_S, 50)
    whole = clock.ends_s(starts, np.full(50, 2 * DAY_S))
    assert whole == pytest.approx(starts + 2 * DAY_S, abs=1.0)
    at_peak, at_trough = clock.ends_s(np.array([6.0, 18.0]) * HOUR_S, np.full(2, 60.0))
    assert at_peak - 6 * HOUR_S == pytest.approx(60 / 1.5, rel=0.01)
    assert at_trough - 18 * HOUR_S == pytest.approx(60 / 0.5, rel=0.01)


def test_a_daily_course_that_does_not_swing_is_an_ordinary_clock():
    clock = DailyCourse(fastest_s=0.0, swing=0.0)
    starts, amounts = np.array([0.0, 1e5, 3e6]), np.array([1.0, 2e4, 1e6])
    assert clock.ends_s(starts, amounts) == pytest.approx(starts + amounts, rel=1e-9)
