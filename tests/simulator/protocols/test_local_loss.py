"""Local losses on the clock: a round of two clients and two steps by hand, faults, and what the head costs."""

import math
from dataclasses import replace

import pytest

from simulator.clock.alone import played_s
from simulator.protocols import local_loss
from simulator.protocols.local_loss import client_round
from simulator.setting import resolve
from simulator.verdict import LABELS_LEAVE, can_cut_affect_learning, privacy
from tests.simulator.small_rounds import MB, HandCosts, close, events, plan, play, small_world
from tests.small_run import small
from workloads.counts import PLAIN_ATTENTION, base_bytes, client_part, forward_flops


def client(start, forward):
    """Return the events of two steps of a client: forward, upload 2, backward 2, optimizer 0.5."""
    found = []
    for number, begin in ((1, start), (2, start + forward + 4.5)):
        found += [
            ("client_forward", number, begin, begin + forward),
            ("upload_activations", number, begin + forward, begin + forward + 2),
            ("client_backward", number, begin + forward + 2, begin + forward + 4),
            ("client_optimizer", number, begin + forward + 4, begin + forward + 4.5),
        ]
    return found


def test_two_clients_take_two_steps_and_wait_for_nobody():
    log, spans = play(HandCosts(forward_s=(1.0, 1.5)), num_clients=2, num_steps=2, run=local_loss.run_round)
    assert events(spans, 0) == close(
        [("download_adapter", -1, 0, 4), *client(4, 1), ("upload_adapter", -1, 15, 18), ("round_wait", -1, 18, 19.5)]
    )
    assert events(spans, 1) == close(
        [("download_adapter", -1, 0, 4), *client(4, 1.5), ("upload_adapter", -1, 16, 19), ("round_wait", -1, 19, 19.5)]
    )
    # arrivals: client 0 at 7 and 12.5, client 1 at 7.5 and 13.5; 3 s each
    assert events(spans, -1) == close(
        [
            ("server_step", 1, 7, 10),
            ("server_step", 1, 10, 13),
            ("server_step", 2, 13, 16),
            ("server_step", 2, 16, 19),
            ("aggregate", -1, 19, 19.5),
        ]
    )
    assert log.end_s == pytest.approx(19.5, rel=1e-9)
    sent = {"download_adapter": 4 * MB, "upload_activations": 4 * MB, "upload_adapter": 3 * MB}
    assert [c.num_bytes for c in log.clients] == [sent] * 2
    assert [c.seconds["server_step"] for c in log.clients] == [pytest.approx(6, rel=1e-9)] * 2


def test_a_client_has_finished_when_the_server_has_too():
    # server steps of 8 s: arrivals at 7 and 12.5, served 7 .. 15 and 15 .. 23; the client is done at 18
    _, spans = play(HandCosts(server_step_s=8.0), num_steps=2, run=local_loss.run_round)
    assert events(spans, 0)[-2:] == close([("overlap_wait", -1, 18, 23), ("round_wait", -1, 23, 23.25)])
    aggregate, last = (spans[spans.kind == kind].iloc[-1] for kind in ("aggregate", "server_step"))
    assert aggregate.cause_id == last.span_id


def test_a_client_measures_itself_when_the_server_has_been_trained_too():
    # Of the server's steps the second ends at 23, while the client is done with its own at 15: then it measures itself
    # with 1 s forward, 2 s up and 1.5 s at the server, and hands in, 27.5 .. 30.5.
    _, spans = play(HandCosts(server_step_s=8.0), [plan(0, num_steps=2, validate=True)], run=local_loss.run_round)
    assert events(spans, 0)[-6:] == close(
        [
            ("overlap_wait", -1, 15, 23),
            ("validation_forward", -1, 23, 24),
            ("upload_validation", -1, 24, 26),
            ("server_validation", -1, 26, 27.5),
            ("upload_adapter", -1, 27.5, 30.5),
            ("round_wait", -1, 30.5, 30.75),
        ]
    )


def test_the_cause_of_a_server_step_is_its_upload_or_who_left_the_slot():
    _, spans = play(HandCosts(forward_s=(1.0, 1.5)), num_clients=2, run=local_loss.run_round)
    first, second = spans[spans.kind == "server_step"].itertuples()
    upload = spans[(spans.kind == "upload_activations") & (spans.client == 0)].iloc[0]
    assert (first.cause_id, second.cause_id) == (upload.span_id, first.span_id)


def test_the_round_takes_the_slower_of_client_and_server():
    world, _ = small_world(HandCosts(server_step_s=8.0))
    assert played_s(world, 1, plan(0, num_steps=2), client_round) == pytest.approx(23, rel=1e-9)
    world, _ = small_world(HandCosts())
    assert played_s(world, 1, plan(0, num_steps=2), client_round) == pytest.approx(18, rel=1e-9)
    assert world.env.now == 0


def test_of_a_client_that_goes_the_server_ends_what_it_has_begun_and_forgets_what_waits():
    # served 7 .. 17 for step 1; step 2 arrived at 12.5 and waits; the client goes at 13
    plans = [plan(0, num_steps=2, leaves_s=13.0), plan(1)]
    log, spans = play(HandCosts(forward_s=(1.0, 1.5), server_step_s=10.0), plans, run=local_loss.run_round)
    # client 1's step arrives at 7.5 and is next, 17 .. 27
    assert [(kind, start, end) for kind, _, start, end in events(spans, -1)] == [
        ("server_step", pytest.approx(7), pytest.approx(17)),
        ("server_step", pytest.approx(17), pytest.approx(27)),
        ("aggregate", pytest.approx(27), pytest.approx(27.25)),
    ]
    assert [c.status for c in log.clients] == ["dropped", "finished"]
    assert "server_step" not in log.clients[0].seconds  # nothing had been done for it when it went


def local(**changes):
    return resolve(small(**{"protocol": {"kind": "local-loss"}, **changes}))


def test_the_head_costs_four_flops_for_each_of_its_weights_and_token_and_its_gradient_is_not_sent():
    setting, split = local(), resolve(small())
    alone, with_head = split.costs.step(0, 2, 2, 32), setting.costs.local_step(0, 2, 2, 32)
    part, shape, device = client_part(split.shape, split.lora, 2), split.shape, split.fleet.device(0)
    head = 2 * 64 * shape.hidden_size * shape.vocab_size  # 64 padded tokens, one direction
    work = forward_flops(part, 2, 32, PLAIN_ATTENTION)
    assert forward_flops(replace(part, has_head=True), 2, 32, PLAIN_ATTENTION) == work + head
    rate = head / (with_head.client_forward_s - alone.client_forward_s)
    overhead_s = 2 * device.block_overhead_forward_s
    coding_s = alone.client_forward_s - overhead_s - work / rate
    assert with_head.client_forward_s == pytest.approx(coding_s + overhead_s + (work + head) / rate, rel=1e-9)
    assert with_head.activation_bytes == alone.activation_bytes
    # the backward pass has the head instead of a gradient that is decoded, the server neither encodes nor sends it
    assert with_head.client_backward_s - alone.client_backward_s < head / rate
    assert with_head.server_step_s < alone.server_step_s


def test_the_head_takes_memory_on_the_client():
    setting, split = local(), resolve(small())
    with_head, without = setting.memory.client(3), split.memory.client(3)
    shape = split.shape
    whole = client_part(shape, split.lora, shape.num_blocks)
    missing = (shape.num_blocks - 3) * shape.block.num_parameters
    assert with_head.weights_bytes == base_bytes(whole, "float32") - 4 * missing  # a tied matrix once
    assert with_head.logits_bytes == 3 * 4 * 2 * setting.memory.length_tokens * shape.vocab_size
    assert without.logits_bytes == 0
    assert math.isclose(with_head.adapters_bytes, without.adapters_bytes)


def test_users_are_told_that_the_head_makes_the_cut_matter_and_that_labels_leave():
    setting = local(workload={"lora": {"cut_rank_sides": "none"}})
    assert can_cut_affect_learning(setting) == "yes: clients learn from a head at the cut"
    assert privacy(setting) == LABELS_LEAVE
