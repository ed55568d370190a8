import math
import random

import pytest
import simpy

from simulator.network.alarm import Alarm


def _alarm(env: simpy.Environment) -> tuple[Alarm, list[float]]:
    rung: list[float] = []
    return Alarm(env, rung.append), rung


def test_an_alarm_rings_at_the_very_time_that_a_delay_would_miss() -> None:
    rng = random.Random(0)
    pairs = [(rng.uniform(0.0, 1.0), rng.uniform(2.0, 4.0)) for _ in range(1000)]
    now_s, time_s = next((now, time) for now, time in pairs if now + (time - now) != time)
    env = simpy.Environment(initial_time=now_s)
    alarm, rung = _alarm(env)
    alarm.set(time_s)
    env.run()
    assert rung == [time_s]
    assert env.now == time_s


@pytest.mark.parametrize(
    ("settings", "rings_s"),
    [
        ([5.0, 3.0], [3.0]),
        ([3.0, 5.0], [5.0]),
        ([5.0, 3.0, 4.0], [4.0]),
        ([5.0, 3.0, 6.0, 2.0, 5.5], [5.5]),
        ([3.0, math.inf], []),
        ([3.0, math.inf, 3.0], [3.0]),
    ],
)
def test_an_alarm_rings_once_at_the_time_it_was_set_to_last(settings: list[float], rings_s: list[float]) -> None:
    env = simpy.Environment()
    alarm, rung = _alarm(env)
    for time_s in settings:
        alarm.set(time_s)
    env.run()
    assert rung == rings_s


def test_an_alarm_that_is_put_off_again_and_again_holds_one_place_in_the_queue() -> None:
    env = simpy.Environment()
    alarm, rung = _alarm(env)
    for time_s in range(1, 10_001):
        alarm.set(float(time_s))
        assert len(env._queue) == 1
    env.run()
    assert rung == [10_000.0]


def test_an_alarm_can_be_set_again_while_it_rings() -> None:
    env = simpy.Environment()
    rung: list[float] = []

    def ring(now_s: float) -> None:
        rung.append(now_s)
        if now_s < 3.0:
            alarm.set(now_s + 1.0)

    alarm = Alarm(env, ring)
    alarm.set(1.0)
    env.run()
    assert rung == [1.0, 2.0, 3.0]
