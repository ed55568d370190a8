"""What the SplitFT policy is told that one block costs is what moving one block changes."""

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.costs.block_price import observed_price
from simulator.policies.observation import CutCosts
from simulator.policies.observe import Ahead, observations
from simulator.protocols.phases import SPLIT_STEP
from simulator.protocols.rounds import ClientLog, ClientPlan, PaddedBatch, RoundLog
from simulator.setting import resolve
from tests.simulator.observed import never
from tests.small_run import SMALL, small

DEEP = "smollm2-360m"  # 32 blocks, and an LM head that weighs as much as five of them
SLOW = 1.25  # a device that takes this much longer than its profile says


@functools.cache
def setting_of(model, sides="none"):
    """Return three devices and a model; nothing is trained."""
    workload = {**SMALL["workload"], "model": model, "lora": {"cut_rank_sides": sides}}
    return resolve(small(workload=workload, execution={"trainer": "cost-only"}))


def seconds_of(step):
    return {
        "client_forward": step.client_forward_s,
        "upload_activations": 0.5,
        "upload_labels": 0.01,
        "server_step": step.server_step_s,
        "download_gradients": 0.5,
        "client_backward": step.client_backward_s,
        "client_optimizer": step.client_optimizer_s,
    }


def observed(setting, client, cut, batches, slowdown=1.0):
    """Return what is observed of a client that was alone with the server."""
    steps = [seconds_of(setting.costs.step(client, cut, b.num_samples, b.length_tokens)) for b in batches]
    log = ClientLog(
        plan=ClientPlan(client=client, cut=cut, steps=batches),
        start_s=0.0,
        end_s=1.0,
        seconds={kind: slowdown * sum(step[kind] for step in steps) for kind in steps[0]},
        num_bytes={},
        num_steps=len(batches),
        status="finished",
    )
    ahead = {client: Ahead(draw=0.0, costs=CutCosts(never, never))}
    [seen] = observations(setting, RoundLog(round=1, start_s=0.0, end_s=1.0, clients=(log,)), {}, ahead)
    return seen


def batch(length_tokens):
    return PaddedBatch(num_samples=4, length_tokens=length_tokens, num_real_tokens=4)


@settings(max_examples=40, deadline=None)
@given(client=st.integers(0, 2), cut=st.integers(1, 30), lengths=st.lists(st.integers(8, 32), min_size=1, max_size=3))
def test_a_further_block_is_priced_as_what_it_adds_to_the_path(client, cut, lengths):
    setting, batches = setting_of(DEEP), tuple(map(batch, lengths))
    here = observed(setting, client, cut, batches)
    deeper = observed(setting, client, cut + 1, batches)
    # Nothing else is at work: transfers are equal, so the paths differ by one block here less one block there.
    added_s = here.client_block_s - here.server_block_s
    assert added_s == pytest.approx(deeper.busy_s - here.busy_s, rel=1e-9)


@pytest.mark.parametrize("cut", [1, 16, 30])
def test_a_reduced_rank_at_the_cut_hardly_matters(cut):
    # At cut 1 it sits in the one block that passes no gradient on, so that the second block is not like the others.
    setting = setting_of(DEEP, sides="both")
    here, deeper = (observed(setting, 1, at, (batch(32),)) for at in (cut, cut + 1))
    added_s = here.client_block_s - here.server_block_s
    assert added_s == pytest.approx(deeper.busy_s - here.busy_s, rel=5e-3)


def test_what_a_device_takes_longer_than_its_profile_says_its_block_takes_longer_too():
    as_said, slow = (observed(setting_of(DEEP), 0, 8, (batch(16),), slowdown) for slowdown in (1.0, SLOW))
    assert slow.client_block_s == pytest.approx(SLOW * as_said.client_block_s)


def test_a_model_of_two_blocks_has_one_cut_and_a_positive_price():
    setting = setting_of("tiny")
    step = setting.costs.step(0, 1, 4, 16)
    log = ClientLog(
        plan=ClientPlan(client=0, cut=1, steps=(batch(16),)),
        start_s=0.0,
        end_s=1.0,
        seconds=seconds_of(step),
        num_bytes={},
        num_steps=1,
        status="finished",
    )
    price = observed_price(log, setting.costs.step, num_blocks=2, own_kinds=SPLIT_STEP.own)
    on_client_s = step.client_forward_s + step.client_backward_s + step.client_optimizer_s
    assert (price.on_client_s, price.on_server_s) == (pytest.approx(on_client_s), pytest.approx(step.server_step_s))
