"""Clients that come and go: who can be reached at a time, and until when.

Whether a client is there is a function of the seed, its number and the time alone. Its n-th coming or going takes its
random numbers from the place (client, n) of a counter-based generator, so nobody's numbers depend on who else there is,
on who was asked, or on when somebody looked. Nothing happens for a client between two looks: one look costs a few
operations on whole arrays, and more only for those who have come or gone since the last one.

A client is there from the moment at which it comes, and no longer there at the moment at which it goes.
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from devices.availability import AvailabilityProfile, Duration, mean_s, mean_share
from devices.units import HOUR_S
from simulator.draws import generator, uniforms
from simulator.participation.durations import Floats, remaining_s, times_s
from simulator.participation.trace_file import Trace

DAY_S: Final = 24.0 * HOUR_S
LEAST_SHARE: Final = 0.02  # of its time that a client is there, and away: the floor that the catalogue states
RETRY_S: Final = 60.0  # until a coin is tossed again where too few came up
PEAK_LOCAL_H: Final = 4.0  # where a sinusoid states none: phones are charged and idle at night
TAILS: Final = 1.5  # measured: the shipped renewals answer 0.57 to 0.75 times as much as exponential times would
STEEPEST: Final = 0.95  # of the mean speed, by which a daily course may slow down or speed up

_TABLE_POINTS: Final = 8193  # of a day, 10.5 s apart

Ids = NDArray[np.int64]


class Presence:
    """Clients that are always there; the base of all others.

    Attributes:
        here: for each client, whether it is there.
        until_s: for each client, until when that holds; infinity: for good, as far as is known.
    """

    def __init__(self, num_clients: int, *, here: bool = True) -> None:
        self.here = np.full(num_clients, here)
        self.until_s = np.full(num_clients, math.inf)

    def leave_out(self, absent: NDArray[np.bool_]) -> None:
        """Let these clients be away for good."""
        self.here = self.here & ~absent
        self.until_s = np.where(absent, math.inf, self.until_s)

    def look(self, now_s: float, round: int, attempt: int) -> None:  # noqa: A002
        """Bring `here` and `until_s` to a time, for the n-th attempt (from 0) at a round; times never run backwards."""

    def next_look_s(self, now_s: float, num_missing: int) -> float:  # noqa: ARG002
        """Return when there may be so many more clients, and surely not before; infinity: never."""
        return math.inf


class CoinTosses(Presence):
    """Each client is there with the same probability, drawn anew for every round; nobody goes within a round."""

    def __init__(self, num_clients: int, seed: int, available_frac: float) -> None:
        super().__init__(num_clients)
        self._seed, self._available_frac = seed, available_frac

    def look(self, now_s: float, round: int, attempt: int) -> None:  # noqa: A002, ARG002
        """Toss the coins of a round."""
        coins = generator(self._seed, "availability", round=round, step=attempt).random(len(self.here))
        self.here = coins < self._available_frac

    def next_look_s(self, now_s: float, num_missing: int) -> float:  # noqa: ARG002
        """Return when the coins are tossed again."""
        return now_s + RETRY_S


class ComingAndGoing(Presence):
    """Clients that come, go and come again, in continuous time. At first all are away until `until_s`."""

    def __init__(self, num_clients: int) -> None:
        super().__init__(num_clients, here=False)

    def look(self, now_s: float, round: int, attempt: int) -> None:  # noqa: A002, ARG002
        """Let everybody come and go until now."""
        due = np.flatnonzero(self.until_s <= now_s)
        while len(due):
            self.here[due] = ~self.here[due]
            self.until_s[due] = self._until_s(due)
            due = due[self.until_s[due] <= now_s]

    def next_look_s(self, now_s: float, num_missing: int) -> float:  # noqa: ARG002
        """Return when the n-th of those who are away comes: until then there cannot be n more."""
        comes_s = self.until_s[~self.here]
        return float(np.partition(comes_s, num_missing - 1)[num_missing - 1])

    def _until_s(self, clients: Ids) -> Floats:
        """Return until when clients stay, or stay away, that have just come or gone (at their `until_s`)."""
        raise NotImplementedError


class DailyCourse:
    """A clock that runs faster at some hours than at others, and as fast as any other over a day.

    Its speed is 1 + swing * cos(2 pi (t - fastest_s) / day).

    Args:
        fastest_s: when it runs fastest.
        swing: from 0 to below 1.
    """

    def __init__(self, *, fastest_s: float, swing: float) -> None:
        self._rate = 2 * math.pi / DAY_S
        self._fastest_s, self._swing = fastest_s, swing
        self._angles = np.linspace(0.0, 2 * math.pi, _TABLE_POINTS)
        self._readings = self._angles + swing * np.sin(self._angles)

    def ends_s(self, start_s: Floats, amount_s: Floats) -> Floats:
        """Return the times by which the clock has gone on by an amount.

        With x = 2 pi (t - fastest) / day the clock shows x + swing * sin(x) (Kepler's equation); the inverse is read
        from a table of one day.
        """
        angle = self._rate * (start_s - self._fastest_s)
        reading = angle + self._swing * np.sin(angle) + self._rate * amount_s
        turns = np.floor(reading / (2 * math.pi)) * (2 * math.pi)
        end = turns + np.interp(reading - turns, self._readings, self._angles)
        return np.maximum(end / self._rate + self._fastest_s, start_s)


class Renewal(ComingAndGoing):
    """Times there and times away follow each other, each independent of all before; in the long-run state at once.

    Each client has its own share of time, drawn once from the profile's Beta distribution, by which its times away are
    longer or shorter. Where the profile has a daily course, times away pass on a clock that runs faster, and times
    there on one that runs slower, before the hour at which most clients are there.

    Args:
        profile: of the process `on-off-renewal`.
        num_clients, seed: who draws.
        start_h: the clients' local hour at time 0.
    """

    def __init__(self, profile: AvailabilityProfile, num_clients: int, seed: int, start_h: float) -> None:
        super().__init__(num_clients)
        self._seed, self._on, self._off = seed, profile.on[0], profile.off[0]
        on_s, off_s = mean_s(self._on), mean_s(self._off)
        shares = client_shares(profile, num_clients, seed)
        self._stretch = on_s / off_s * (1 / shares - 1)
        self._turns = np.zeros(num_clients, dtype=np.int32)
        swing, lead_s = _swing(profile, on_s)
        peak_s = ((profile.peak_local_h or 0.0) - start_h) * HOUR_S
        self._coming = DailyCourse(fastest_s=peak_s - lead_s, swing=swing)
        self._going = DailyCourse(fastest_s=peak_s - lead_s + DAY_S / 2, swing=swing)
        self._begin(shares * (1 + _amplitude(profile) * math.cos(2 * math.pi * peak_s / DAY_S)))

    def _begin(self, shares: Floats) -> None:
        """Draw who is there at time 0 and what remains of the times that are under way."""
        clients = np.arange(len(shares))
        drawn = uniforms(self._seed, "availability", clients=clients)
        self.here = drawn[:, 0] < shares
        self.until_s = np.zeros(len(shares))
        self.until_s = self._after(clients, drawn[:, 1:], remaining_s)

    def _until_s(self, clients: Ids) -> Floats:
        self._turns[clients] += 1
        drawn = uniforms(self._seed, "availability", clients=clients, round=self._turns[clients].astype(np.int64))
        return self._after(clients, drawn, times_s)

    def _after(self, clients: Ids, drawn: Floats, lengths_s: Callable[[Duration, Floats], Floats]) -> Floats:
        """Return when times end that begin at clients' `until_s` and are as long as uniform numbers say."""
        since_s, ends_s = self.until_s[clients], np.empty(len(clients))
        here = self.here[clients]
        away, absent = ~here, clients[~here]
        ends_s[here] = self._going.ends_s(since_s[here], lengths_s(self._on, drawn[here]))
        away_s = lengths_s(self._off, drawn[away]) * self._stretch[absent]
        ends_s[away] = self._coming.ends_s(since_s[away], away_s)
        return ends_s


def client_shares(profile: AvailabilityProfile, num_clients: int, seed: int) -> Floats:
    """Return the share of time that each client is there in the long run."""
    if profile.client_beta is None:
        return np.full(num_clients, mean_share(profile))
    shares = generator(seed, "availability share").beta(*profile.client_beta, num_clients)
    return np.clip(shares, LEAST_SHARE, 1 - LEAST_SHARE)


def _amplitude(profile: AvailabilityProfile) -> float:
    """Return the amplitude of a profile's daily course over its mean; 0 where it has none."""
    return (profile.diurnal_amplitude_frac or 0.0) / (profile.diurnal_mean_frac or 1.0)


def _swing(profile: AvailabilityProfile, on_s: float) -> tuple[float, float]:
    """Return by how much the speed of coming and going must vary for a profile's daily course, and how many s earlier.

    For exponential times with mean 1/m there, speeds 1 + s for coming and 1 - s for going, and a mean share p, the
    share p (1 + x) obeys, to first order, x' + m x / (1 - p) = 2 m s. For x = a cos(wt) that is
    2 s = a (cos(wt) / (1 - p) - (w / m) sin(wt)). Real times have heavier tails, which answer less: see `TAILS`.
    """
    share, lag = mean_share(profile), 2 * math.pi * on_s / DAY_S
    swing = TAILS * _amplitude(profile) * math.hypot(1 / (1 - share), lag) / 2
    return min(swing, STEEPEST), math.atan(lag * (1 - share)) / (2 * math.pi) * DAY_S


class DailySessions(ComingAndGoing):
    """One session a day at most, around the hour of the peak; the share of clients that are there is a sinusoid.

    For every day (from one trough to the next) a client draws u in [0, 1) and is there while the sinusoid is above u.
    So the share of clients that are there is the sinusoid itself, and sessions are hours long.

    Args:
        profile: of the process `sinusoid`, with `available_frac` and `diurnal_ratio`.
        num_clients, seed: who draws.
        start_h: the clients' local hour at time 0.
    """

    def __init__(self, profile: AvailabilityProfile, num_clients: int, seed: int, start_h: float) -> None:
        super().__init__(num_clients)
        assert profile.available_frac is not None
        assert profile.diurnal_ratio is not None
        self._seed = seed
        self._mean_frac = profile.available_frac
        self._amplitude = (profile.diurnal_ratio - 1) / (profile.diurnal_ratio + 1)
        self._period_s = profile.period_s or DAY_S
        peak_h = PEAK_LOCAL_H if profile.peak_local_h is None else profile.peak_local_h
        half_s = self._period_s / 2
        self._first_peak_s = ((peak_h - start_h) * HOUR_S + half_s) % self._period_s - half_s
        self._days = np.zeros(num_clients, dtype=np.int64)  # of the session under way, or the next one to look at
        self.until_s = self._comes_s(np.arange(num_clients))

    def _until_s(self, clients: Ids) -> Floats:
        here = self.here[clients]
        until_s = np.empty(len(clients))
        until_s[here] = self._goes_s(clients[here])
        until_s[~here] = self._comes_s(clients[~here])
        return until_s

    def _comes_s(self, clients: Ids) -> Floats:
        """Return when the next session of clients begins that are away."""
        days = self._days[clients]
        half_s = self._half_s(clients, days)
        while len(absent := np.flatnonzero(half_s == 0)):
            days[absent] += 1
            half_s[absent] = self._half_s(clients[absent], days[absent])
        self._days[clients] = days
        return self._first_peak_s + days * self._period_s - half_s

    def _goes_s(self, clients: Ids) -> Floats:
        """Return when the session of clients ends that have just come; one that lasts all day goes on into the next."""
        days = self._days[clients]
        half_s = self._half_s(clients, days)
        lasting = np.flatnonzero(half_s >= self._period_s / 2)
        while len(lasting):
            lasting = lasting[self._half_s(clients[lasting], days[lasting] + 1) >= self._period_s / 2]
            days[lasting] += 1
        self._days[clients] = days + 1
        return self._first_peak_s + days * self._period_s + half_s

    def _half_s(self, clients: Ids, days: Ids) -> Floats:
        """Return half the length of clients' sessions on given days: 0 for none."""
        drawn = uniforms(self._seed, "availability", clients=clients, round=days)[:, 0]
        cosine = np.clip((drawn / self._mean_frac - 1) / self._amplitude, -1.0, 1.0)
        half_s: Floats = np.arccos(cosine) / (2 * math.pi) * self._period_s
        return half_s


class Sessions(ComingAndGoing):
    """Clients that come and go as a trace says.

    Args:
        trace: their sessions.
    """

    def __init__(self, trace: Trace) -> None:
        super().__init__(len(trace.first))
        self._changes_s = trace.changes_s
        self._next = trace.first.copy()
        self.until_s = self._changes_s[self._next]

    def _until_s(self, clients: Ids) -> Floats:
        self._next[clients] += 1
        return self._changes_s[self._next[clients]]
