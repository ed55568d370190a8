"""Federated LoRA: a round of two clients and two steps by hand, what it costs, and that no policy is asked."""

import pytest

from simulator.learning.recipe import recipe_of
from simulator.protocols import fed_lora
from simulator.setting import resolve
from simulator.verdict import can_cut_affect_learning, privacy
from tests.simulator.small_rounds import MB, HandCosts, close, events, play
from tests.small_run import SMALL, small
from workloads.codec_bytes import FP32
from workloads.counts import PLAIN_ATTENTION, backward_flops, client_part, forward_flops


def steps(first, forward):
    """Return the events of two steps: forward, backward 2, optimizer 0.5."""
    found = []
    for number, start in ((1, first), (2, first + forward + 2.5)):
        found += [
            ("client_forward", number, start, start + forward),
            ("client_backward", number, start + forward, start + forward + 2),
            ("client_optimizer", number, start + forward + 2, start + forward + 2.5),
        ]
    return found


def test_two_clients_train_two_steps_at_home():
    # 4 s down, 2 x 3.5 or 2 x 4 s, 3 s up: 14 and 15 s; the server aggregates two in 0.5 s
    log, spans = play(HandCosts(forward_s=(1.0, 1.5)), num_clients=2, num_steps=2, run=fed_lora.run_round)
    assert events(spans, 0) == close(
        [("download_adapter", -1, 0, 4), *steps(4, 1), ("upload_adapter", -1, 11, 14), ("round_wait", -1, 14, 15.5)]
    )
    assert events(spans, 1) == close(
        [("download_adapter", -1, 0, 4), *steps(4, 1.5), ("upload_adapter", -1, 12, 15), ("round_wait", -1, 15, 15.5)]
    )
    assert events(spans, -1) == close([("aggregate", -1, 15, 15.5)])
    assert log.end_s == pytest.approx(15.5, rel=1e-9)
    assert [c.num_bytes for c in log.clients] == [{"download_adapter": 4 * MB, "upload_adapter": 3 * MB}] * 2


def test_clients_who_never_meet_need_no_events():
    with_events, without = (
        play(HandCosts(forward_s=(1.0, 1.5)), num_clients=2, num_steps=2, run=fed_lora.run_round, fast_forward=forward)
        for forward in (False, True)
    )
    assert without[1].equals(with_events[1])
    assert without[0] == with_events[0]


def fed(**changes):
    return resolve(small(**{"protocol": {"kind": "fed-lora"}, **changes}))


def test_every_client_holds_all_blocks_whatever_the_policy_says():
    setting = fed(policy={"kind": "splitft", "max_cut": 3})
    assert [setting.max_cut(client) for client in range(3)] == [8, 8, 8]
    assert setting.notes == ("protocol fed-lora does not cut the model: policy splitft is not used",)
    assert not setting.policy_reads_performance
    assert can_cut_affect_learning(setting) == "there is none: the model is not cut"
    assert privacy(setting) == "labels do not leave the device, and no activations do"


def test_a_step_is_the_work_of_the_whole_model_and_nothing_is_coded():
    setting = fed(workload={**SMALL["workload"], "codec": {"activations": "int8", "gradients": "int8"}})
    step = setting.costs.whole_step(0, 2, 32)
    whole = client_part(setting.shape, setting.lora, setting.shape.num_blocks)
    assert whole.has_head
    work = forward_flops(whole, 2, 32, PLAIN_ATTENTION), backward_flops(whole, 2, 32, PLAIN_ATTENTION)
    device = setting.fleet.device(0)
    spent = (
        step.forward_s - 8 * device.block_overhead_forward_s,
        step.backward_s - 8 * device.block_overhead_backward_s,
    )
    assert spent[0] / spent[1] == pytest.approx(work[0] / work[1], rel=1e-9)  # at one rate
    recipe = recipe_of(setting, "here")
    assert (recipe.activation_codec, recipe.gradient_codec) == (FP32, FP32)
    assert recipe.learning_rule == "sfl-v1"  # with every block on the client


def test_the_server_runs_no_model():
    setting = fed()
    memory = setting.memory.server([8] * 3, steps_at_once=1)
    assert (memory.weights_bytes, memory.activations_bytes, memory.logits_bytes) == (0, 0, 0)
    whole = client_part(setting.shape, setting.lora, 8)
    # the global adapter and three that are handed in, float32, rank 16 in each of 8 blocks
    widths = sum(linear.d_in + linear.d_out for linear in whole.targets)
    assert memory.adapters_bytes == 4 * 4 * 8 * 16 * widths
