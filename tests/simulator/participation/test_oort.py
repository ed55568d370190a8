"""Oort's utilities and draws; what they fall back to where nothing is learned."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import splitft
from simulator.participation.oort import History, oort, utilities
from simulator.scenario import Scenario
from simulator.sections.participation import OortSelection


def history(last_round, duration_s=None, loss=None, num_samples=None):
    num_clients = len(last_round)
    return History(
        num_samples=np.array(num_samples or [10] * num_clients),
        last_round=np.array(last_round),
        duration_s=np.array(duration_s or [1.0] * num_clients, dtype=float),
        loss=np.array(loss or [math.nan] * num_clients, dtype=float),
    )


def test_a_utility_is_samples_times_loss_less_for_slow_clients():
    # |B| loss = 40, 20, 40, of the largest 1, 0.5, 1; ln(1) = 0 leaves no bonus. The 50th percentile of 1, 2, 4 s is
    # 2 s, so that the third is slow: (2 / 4)^2 = 0.25
    seen = history([1, 1, 1], [1.0, 2.0, 4.0], loss=[4.0, 2.0, 2.0], num_samples=[10, 10, 20])
    found = utilities(np.arange(3), 1, OortSelection(preferred_percentile=50.0), seen)
    assert found.tolist() == pytest.approx([1.0, 0.5, 0.25])
    plain = utilities(np.arange(3), 1, OortSelection(preferred_percentile=50.0, penalty=0.0), seen)
    assert plain.tolist() == pytest.approx([1.0, 0.5, 1.0])


def test_whoever_has_not_been_seen_for_long_is_worth_more():
    # equal otherwise: 1 + sqrt(0.1 ln 20 / last round)
    found = utilities(np.arange(2), 20, OortSelection(), history([1, 16], loss=[1.0, 1.0]))
    assert found.tolist() == pytest.approx([1 + math.sqrt(0.1 * math.log(20) / last) for last in (1, 16)])


def test_without_losses_durations_alone_decide():
    seen = history([1, 1], [1.0, 2.0], num_samples=[10, 1000])
    # the 30th percentile of 1 and 2 is 1.3: the second is slow, (1.3 / 2)^2
    assert utilities(np.arange(2), 1, OortSelection(), seen).tolist() == pytest.approx([1.0, 0.65**2])


def test_without_losses_it_does_not_count_how_long_a_client_has_not_been_seen():
    found = utilities(np.arange(2), 20, OortSelection(), history([1, 19]))
    assert found.tolist() == [1.0, 1.0]


def test_the_share_of_the_unknown_decays_to_its_floor():
    # 100 known and 100 unknown, 50 wanted
    section = OortSelection(count=50)
    for now, expected in [(2, 44), (11, 37), (101, 10)]:  # 50 * 0.9 * 0.98^1 = 44.1, 0.98^10: 36.8, floor 0.2: 10
        seen = history([1] * 100 + [0] * 100)  # rounds count in which nobody has finished, too
        chosen = oort(np.arange(200), 50, np.random.default_rng(0), section, seen, now=now)
        assert (chosen >= 100).sum() == expected
    # whom nobody knows fills up what the known cannot
    few_known = history([200] * 5 + [0] * 195)
    assert (oort(np.arange(200), 50, np.random.default_rng(0), section, few_known, now=201) >= 5).sum() == 45


def test_of_the_known_those_near_the_best_are_taken():
    # ten of utility 1 and ninety of less than 0.95 of that
    seen = history([1] * 100, loss=[1.0] * 10 + [0.5] * 90)
    chosen = oort(np.arange(100), 10, np.random.default_rng(3), OortSelection(count=10), seen, now=2)
    assert chosen.tolist() == list(range(10))


@settings(max_examples=100, deadline=None)
@given(
    last_round=st.lists(st.integers(0, 9), min_size=2, max_size=30),
    wanted=st.integers(1, 12),
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_as_many_as_are_wanted_are_chosen_once_each_of_those_within_reach(last_round, wanted, seed, data):
    reachable = np.array(sorted(data.draw(st.sets(st.integers(0, len(last_round) - 1), min_size=1))))
    loss = data.draw(st.sampled_from([math.nan, 0.0, 2.0]))
    seen = history(last_round, loss=[loss] * len(last_round))
    chosen = oort(reachable, wanted, np.random.default_rng(seed), OortSelection(count=wanted), seen, now=10)
    assert len(chosen) == min(wanted, len(reachable))
    assert (np.diff(chosen) > 0).all()
    assert np.isin(chosen, reachable).all()


def test_in_sl_the_wait_for_ones_turn_is_no_duration_of_ones_own():
    # Three devices alike with equal batches: whoever comes last is not slower than whoever comes first. Their links
    # are drawn, but hardly matter.
    scenario = Scenario.from_mapping(
        {
            "rounds": 1,
            "fleet": {"clients": [{"device": "rpi5-8gb", "network": "lan-1gbe", "count": 3}]},
            "workload": {"dataset": {"source": "lengths", "distribution": "fixed", "tokens": 16}, "local_steps": 1},
            "protocol": {"kind": "sl"},
            "policy": {"kind": "fixed"},
            "execution": {"trainer": "cost-only"},
        }
    )
    clients = splitft.run(scenario).clients
    durations_s = clients.end_s - clients.start_s
    assert durations_s.tolist() == pytest.approx([durations_s[0]] * 3, rel=0.05)
    assert clients.start_s.tolist() == pytest.approx([0.0, *clients.end_s[:-1]], rel=1e-9)


def run(selection, rounds=30):
    fleet = [
        {"device": "rpi5-8gb", "network": network, "count": 10} for network in ("lan-1gbe", "us-mobile-2022-median")
    ]
    sections = {
        "rounds": rounds,
        "fleet": {"clients": fleet},
        "workload": {"dataset": {"source": "lengths", "distribution": "fixed", "tokens": 16}, "local_steps": 1},
        "policy": {"kind": "fixed"},
        "selection": selection,
        "execution": {"trainer": "cost-only"},
    }
    return splitft.run(Scenario.from_mapping(sections))


def test_in_a_run_of_the_clock_alone_it_prefers_fast_clients_and_keeps_trying_others():
    chosen = run({"kind": "oort", "count": 5}).clients
    late = chosen[chosen["round"] > 15]
    fast = (late.client < 10).mean()
    assert fast > 0.7  # half would be chance; a fifth of the cohort was unknown for as long as there were any
    assert set(chosen.client) == set(range(20))
    assert (chosen.groupby("round").size() == 5).all()
