"""SplitFT's cut rule on constructed and on random stationary fleets."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.policies.splitft import Known, splitft
from simulator.scenario import SplitFTPolicy
from tests.simulator.observed import observed

SETTINGS = SplitFTPolicy(kind="splitft")


def observation(client=0, *, cut=4, busy_s=1.0, block_s=0.1, server_block_s=0.0, performance=0.5, **bounds):
    return observed(
        client,
        cut=cut,
        busy_s=busy_s,
        client_block_s=block_s,
        server_block_s=server_block_s,
        performance=performance,
        **bounds,
    )


def decide(*observations, memory=None, policy=SETTINGS):
    return splitft(observations, memory or {}, policy)


def test_a_client_faster_than_the_mean_takes_more_blocks_and_a_slower_one_fewer():
    # mean 1.0 s; each is 0.5 s off, five blocks at 0.1 s: bounded to max_move
    cuts = decide(observation(0, busy_s=0.5), observation(1, busy_s=1.5)).cuts
    assert cuts == {0: 4 + SETTINGS.max_move, 1: 4 - SETTINGS.max_move}


def test_a_client_better_than_the_mean_takes_more_blocks_and_a_poorer_one_fewer():
    # equal times; performances one standard deviation either side of the mean; gamma_perf 1 makes that one block
    policy = SplitFTPolicy(kind="splitft", gamma_perf=1.0)
    cuts = decide(observation(0, performance=0.6), observation(1, performance=0.4), policy=policy).cuts
    assert cuts == {0: 5, 1: 3}


def test_equal_clients_stay():
    assert decide(*(observation(k) for k in range(4))).cuts == dict.fromkeys(range(4), 4)


def test_a_gap_of_less_than_one_block_moves_nobody():
    # 0.09 s off the mean is 0.9 blocks of 0.1 s
    assert decide(observation(0, busy_s=0.91), observation(1, busy_s=1.09)).cuts == {0: 4, 1: 4}


def test_nearly_equal_performances_count_as_equal():
    # 0.5005 and 0.4995: their spread, 0.1 % of the mean, is below the floor of 2 %, so the scores are 0.05, not 1
    policy = SplitFTPolicy(kind="splitft", gamma_perf=1.0)
    assert decide(observation(0, performance=0.5005), observation(1, performance=0.4995), policy=policy).cuts == {
        0: 4,
        1: 4,
    }


def test_without_performances_only_resources_decide():
    observations = [observation(0, busy_s=0.5, performance=None), observation(1, busy_s=1.5, performance=None)]
    assert decide(*observations).cuts == {0: 6, 1: 2}


def test_the_server_taking_over_a_block_counts_against_the_gain():
    # a block costs 0.1 s on the client but saves 0.06 s on the server: 0.04 s; 0.05 s off the mean is 1.25 blocks
    cuts = decide(
        observation(0, busy_s=0.95, server_block_s=0.06), observation(1, busy_s=1.05, server_block_s=0.06)
    ).cuts
    assert cuts == {0: 5, 1: 3}


def test_the_first_cut_is_the_initial_one_within_the_clients_bounds():
    first = observation(0, cut=None, busy_s=None, max_cut=1)
    assert decide(first).cuts == {0: 1}


def test_cuts_stay_within_their_bounds():
    cuts = decide(observation(0, cut=5, busy_s=0.1, max_cut=5), observation(1, cut=2, busy_s=2.0, min_cut=2)).cuts
    assert cuts == {0: 5, 1: 2}


def test_the_step_time_is_a_moving_average():
    # 0.5 s now, 1.0 s before: with smoothing 0.5 the average is 0.75 s
    policy = SplitFTPolicy(kind="splitft", smoothing=0.5)
    decision = decide(observation(0, busy_s=0.5), memory={0: Known(1.0, 0.5)}, policy=policy)
    assert decision.memory[0].average_s == 0.75


def test_a_client_is_held_against_all_that_are_known_whoever_else_is_observed():
    # Client 0 takes 1 s, as does the mean of 0.6, 1.0 and 1.4 s; it stays, whether or not the slow one is there, too.
    memory = {1: Known(0.6, 0.5), 2: Known(1.4, 0.5)}
    assert decide(observation(0, busy_s=1.0), memory=memory).cuts == {0: 4}
    both = decide(observation(0, busy_s=1.0), observation(2, busy_s=1.4), memory=memory)
    assert both.cuts == {0: 4, 2: 2}
    # as with performances: 0.6 is one standard deviation above the mean of 0.6 and 0.4
    policy = SplitFTPolicy(kind="splitft", gamma_perf=1.0)
    assert decide(observation(0, performance=0.6), memory={1: Known(1.0, 0.4)}, policy=policy).cuts == {0: 5}


def test_a_performance_that_is_not_measured_anew_is_the_last_one():
    decision = decide(observation(0, performance=None), memory={0: Known(1.0, 0.6)})
    assert decision.memory[0].performance == 0.6


fleets = st.lists(
    st.tuples(st.floats(0.01, 10), st.floats(0.005, 1), st.integers(2, 11), st.floats(0.05, 0.6)),
    min_size=2,
    max_size=12,
)


@settings(max_examples=500, deadline=None)
@given(fleet=fleets, server_block_s=st.floats(0, 0.02))
def test_cuts_settle_on_a_stationary_fleet(fleet, server_block_s):
    """Nothing moves in the last 10 of 80 decisions, and no cut ever leaves its range."""
    num_blocks, memory = 12, {}
    cuts = dict.fromkeys(range(len(fleet)))
    history = []
    for _ in range(80):
        observations = [
            observation(
                k,
                cut=cuts[k],
                busy_s=None
                if cuts[k] is None
                else other_s + cuts[k] * block_s + (num_blocks - cuts[k]) * server_block_s,
                block_s=block_s,
                server_block_s=server_block_s,
                performance=performance,
                max_cut=max_cut,
            )
            for k, (other_s, block_s, max_cut, performance) in enumerate(fleet)
        ]
        decision = splitft(observations, memory, SETTINGS)
        cuts, memory = dict(decision.cuts), decision.memory
        assert all(1 <= cut <= fleet[k][2] for k, cut in cuts.items())
        history.append(cuts)
    assert all(cuts == history[-1] for cuts in history[-10:])


@settings(max_examples=100, deadline=None)
@given(fleet=fleets, seed=st.integers(0, 99))
def test_cuts_settle_also_where_only_some_are_observed_each_time(fleet, seed):
    """As with a random selection, or where clients take turns in their own time."""
    rng, memory, cuts, history = np.random.default_rng(seed), {}, dict.fromkeys(range(len(fleet))), []
    for _ in range(160):
        some = [k for k in range(len(fleet)) if cuts[k] is None or rng.random() < 0.5]
        seen = [
            observation(
                k,
                cut=cuts[k],
                busy_s=None if cuts[k] is None else fleet[k][0] + cuts[k] * fleet[k][1],
                block_s=fleet[k][1],
                performance=fleet[k][3],
                max_cut=fleet[k][2],
            )
            for k in some
        ]
        decision = splitft(seen, memory, SETTINGS)
        cuts, memory = cuts | dict(decision.cuts), decision.memory
        history.append(dict(cuts))
    assert all(then == history[-1] for then in history[-20:])
