"""Each cut policy on observations by hand, and `optimal` against all combinations of cuts."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.policies.bandit import bandit
from simulator.policies.dtfl import dtfl
from simulator.policies.fixed import memory_greedy, random
from simulator.policies.heuristics import rate_threshold, weighted_cost
from simulator.policies.optimal import least_round, optimal
from simulator.sections.policy import (
    BanditPolicy,
    DtflPolicy,
    MemoryGreedyPolicy,
    OptimalPolicy,
    RandomPolicy,
    RateThresholdPolicy,
    WeightedCostPolicy,
)
from tests.simulator.observed import ahead, observed

# --- control arms


def test_a_random_cut_is_the_allowed_one_that_the_draw_points_at():
    # five cuts from 3 to 7: a fifth of the draws each
    draws = {0: 0.0, 1: 0.19, 2: 0.2, 3: 0.999}
    seen = [observed(client, draw=draw, min_cut=3, max_cut=7) for client, draw in draws.items()]
    assert random(seen, {}, RandomPolicy()).cuts == {0: 3, 1: 3, 2: 4, 3: 7}


def test_memory_greedy_takes_all_that_fits():
    seen = [observed(0, max_cut=3), observed(1, max_cut=11)]
    assert memory_greedy(seen, {}, MemoryGreedyPolicy()).cuts == {0: 3, 1: 11}


# --- heuristics


@pytest.mark.parametrize(("slow_links", "expected"), [("shallower", {0: 2, 1: 9}), ("deeper", {0: 9, 1: 2})])
def test_a_rate_threshold_parts_slow_uplinks_from_fast_ones(slow_links, expected):
    # the threshold of 16 Mbit/s is 2e6 bytes/s, at which a link is fast
    seen = [observed(k, uplink_bytes_per_s=rate, min_cut=2, max_cut=9) for k, rate in enumerate((1.9e6, 2e6))]
    policy = RateThresholdPolicy(threshold_mbit_per_s=16.0, slow_links=slow_links)
    assert rate_threshold(seen, {}, policy).cuts == expected


def test_a_weighted_cost_is_a_sum_of_parts_of_the_largest():
    costs = ahead(client_s=[1.0, 2.0, 4.0], transfer_s=[10.0, 10.0, 10.0], server_s=[8.0, 2.0, 0.0])
    seen = [observed(0, max_cut=3, costs=costs)]
    # client/4 + server/8: 0.25 + 1 = 1.25, 0.5 + 0.25 = 0.75, 1 + 0 = 1; the transfer is 1 at every cut
    assert weighted_cost(seen, {}, WeightedCostPolicy()).cuts == {0: 2}
    # with the client alone the shallowest, with the server alone the deepest; with nothing all are equal
    assert weighted_cost(seen, {}, WeightedCostPolicy(server=0.0)).cuts == {0: 1}
    assert weighted_cost(seen, {}, WeightedCostPolicy(client=0.0)).cuts == {0: 3}
    assert weighted_cost(seen, {}, WeightedCostPolicy(client=0.0, transfer=0.0, server=0.0)).cuts == {0: 1}
    # only allowed cuts count: of 2 and 3, client/4 + server/2 is 1.5 and 1
    assert weighted_cost([observed(0, min_cut=2, max_cut=3, costs=costs)], {}, WeightedCostPolicy()).cuts == {0: 3}


# --- dtfl


def test_dtfl_gives_each_client_the_deepest_cut_with_which_it_is_no_straggler():
    slow = ahead(client_s=[4.0, 8.0, 12.0], server_s=[3.0, 2.0, 1.0])  # 7, 10, 13: at best 7, so that is what all have
    fast = ahead(client_s=[1.0, 2.0, 7.0], server_s=[3.0, 2.0, 1.0])  # 4, 4, 8
    decision = dtfl([observed(0, max_cut=3, costs=slow), observed(1, max_cut=3, costs=fast)], {}, DtflPolicy())
    assert decision.cuts == {0: 1, 1: 2}
    assert decision.reasons == {0: "the straggler", 1: "no later than the straggler"}


def test_dtfl_scales_the_profile_by_a_moving_average_of_what_it_observes():
    costs = ahead(client_s=[1.0, 2.0], server_s=[2.0, 1.0], slowdown=3.0)
    decision = dtfl([observed(0, cut=1, busy_s=1.0, max_cut=2, costs=costs)], {0: 1.0}, DtflPolicy(smoothing=0.5))
    assert decision.memory == {0: 2.0}  # half of 1 and half of 3
    # times 2 * 1 + 2 = 4 and 2 * 2 + 1 = 5 instead of 3 and 3, of which it would have taken the deeper
    assert decision.cuts == {0: 1}
    # what is not news leaves the average as it is
    assert dtfl([observed(0, cut=1, max_cut=2, costs=costs)], {0: 1.5}, DtflPolicy()).memory == {0: 1.5}
    # the first observation is the average
    first = dtfl([observed(0, cut=1, busy_s=1.0, max_cut=2, costs=costs)], {}, DtflPolicy(smoothing=0.5))
    assert first.memory == {0: 3.0}
    # also if it has been asked for a cut before that
    before = dtfl([observed(0, max_cut=2, costs=costs)], {}, DtflPolicy(smoothing=0.5))
    assert before.memory == {}


def test_dtfl_lets_a_server_that_works_meanwhile_hide_how_slow_a_client_is():
    # At cut 1 the server takes 4 s beside a client of 1 s, which a client twice as slow does not make longer; at cut 2
    # it takes 1 s beside 3 s, which become 6. The straggler's best time is 4 + 1 s of messages.
    costs = ahead(client_s=[1.0, 3.0], transfer_s=1.0, server_s=[4.0, 1.0], slowdown=2.0, is_beside=True)
    seen = observed(0, cut=1, busy_s=1.0, max_cut=2, costs=costs)
    assert dtfl([seen], {}, DtflPolicy()).cuts == {0: 1}
    assert costs.seconds.slowed(2.0).path_s.tolist() == [5.0, 7.0]
    assert costs.seconds.path_s.tolist() == [5.0, 4.0]


# --- bandit


def test_a_bandit_tries_every_cut_and_then_the_fastest_more_often_than_the_others():
    seconds = {1: 3.0, 2: 1.0, 3: 2.0}
    memory, cut, played = {}, None, []
    for _ in range(60):
        step_s = None if cut is None else seconds[cut]
        decision = bandit([observed(0, cut=cut, step_s=step_s, max_cut=3)], memory, BanditPolicy(exploration=0.5))
        cut, memory = decision.cuts[0], decision.memory
        played.append(cut)
    assert played[:3] == [1, 2, 3]
    # rewards 0, 2/3 and 1/3: the gap of 1/3 is more than the bounds differ by once the second has been tried often
    assert max(set(played), key=played.count) == 2
    assert played.count(2) > 30


def test_a_bandit_remembers_means_and_without_exploration_stays_with_the_best():
    memory = {(0, 1): (3, 2.0), (0, 2): (1, 4.0)}
    decision = bandit([observed(0, cut=2, step_s=1.0, max_cut=2)], memory, BanditPolicy(exploration=0.0))
    assert decision.memory == {(0, 1): (3, 2.0), (0, 2): (2, 2.5)}  # (4 + 1) / 2
    assert decision.cuts == {0: 1}
    assert memory == {(0, 1): (3, 2.0), (0, 2): (1, 4.0)}  # what it was given is as it was


# --- optimal


def bound_s(paths_s, works_s, slots, places):
    """Return the objective of one option for each client."""
    longest = max(path_s[place] for path_s, place in zip(paths_s, places, strict=True))
    return max(longest, sum(work_s[place] for work_s, place in zip(works_s, places, strict=True)) / slots)


SECONDS = st.one_of(st.integers(0, 6).map(float), st.floats(0, 6))  # whole numbers make ties


@st.composite
def rounds(draw):
    """Draw clients with different numbers of options, as their memories allow."""
    num_options = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    options = [draw(st.lists(st.tuples(SECONDS, SECONDS), min_size=n, max_size=n)) for n in num_options]
    paths_s, works_s = ([np.array([option[part] for option in own]) for own in options] for part in (0, 1))
    return paths_s, works_s, draw(st.integers(1, 4))


def test_where_clients_work_one_after_another_each_takes_its_shortest_path():
    # together the second would spare the server: its path of 3 s is no longer than the first one's
    long, short = ahead(client_s=[3.0, 4.0], server_s=[1.0, 1.0]), ahead(client_s=[1.0, 3.0], server_s=[2.0, 0.5])
    seen = [observed(k, max_cut=2, costs=costs) for k, costs in enumerate((long, short))]
    assert optimal(seen, {}, OptimalPolicy()).cuts == {0: 1, 1: 2}
    relayed = [dataclasses.replace(o, is_relayed=True) for o in seen]
    assert optimal(relayed, {}, OptimalPolicy()).cuts == {0: 1, 1: 1}


@settings(max_examples=500, deadline=None)
@given(rounds())
def test_the_optimum_is_that_of_all_combinations(case):
    paths_s, works_s, slots = case
    least = min(
        bound_s(paths_s, works_s, slots, places) for places in itertools.product(*(range(len(p)) for p in paths_s))
    )
    assert bound_s(paths_s, works_s, slots, least_round(paths_s, works_s, slots)) == pytest.approx(least, rel=1e-12)


@settings(max_examples=300, deadline=None)
@given(rounds(), st.integers(1, 3), st.data())
def test_the_optimal_policy_is_best_within_every_clients_memory_and_bounds(case, min_cut, data):
    paths_s, works_s, slots = case
    seen = []
    for client, (path_s, work_s) in enumerate(zip(paths_s, works_s, strict=True)):
        # cuts below min_cut and beyond the memory would be free: they must not be taken
        rest = data.draw(st.integers(0, 2))
        costs = ahead(
            client_s=[0.0] * (min_cut - 1) + list(path_s) + [0.0] * rest,
            server_s=[0.0] * (min_cut - 1) + list(work_s) + [0.0] * rest,
        )
        deepest = min_cut + len(path_s) - 1
        seen.append(observed(client, min_cut=min_cut, max_cut=deepest, slots=slots, costs=costs))
    cuts = optimal(seen, {}, OptimalPolicy(min_cut=min_cut)).cuts
    whole_s = [path_s + work_s for path_s, work_s in zip(paths_s, works_s, strict=True)]  # a path has the server in it
    least = min(
        bound_s(whole_s, works_s, slots, places) for places in itertools.product(*(range(len(p)) for p in paths_s))
    )
    places = [cuts[client] - min_cut for client in range(len(seen))]
    assert all(0 <= place < len(path_s) for place, path_s in zip(places, paths_s, strict=True))
    assert bound_s(whole_s, works_s, slots, places) == pytest.approx(least, rel=1e-12)


def test_a_busy_server_makes_the_optimum_deeper():
    # one block more costs a client 1 s and saves the server 2 s; with enough slots only the path counts
    costs = ahead(client_s=[1.0, 4.0, 7.0], server_s=[6.0, 4.0, 2.0])  # paths 7, 8, 9
    alone, crowded = (
        optimal([observed(k, max_cut=3, slots=slots, costs=costs) for k in range(4)], {}, OptimalPolicy()).cuts
        for slots in (4, 1)
    )
    # four slots: max(7, 24 / 4) with the first cut, 8 with any other
    assert alone == dict.fromkeys(range(4), 1)
    # one slot: sums 24, 16 and 8, so that the third is best with max(9, 8)
    assert crowded == dict.fromkeys(range(4), 3)
