"""SplitFed V1 in micro-batches on the clock: a round of two clients and two steps by hand, priorities, faults."""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import splitft
from simulator.clock.alone import played_s
from simulator.costs.step_prediction import Route, Step, pipelined_step, split_step
from simulator.learning.recipe import recipe_of
from simulator.protocols import sfl_v1
from simulator.protocols.sfl_pipelined import client_round, micro_batches, run_round
from simulator.setting import resolve
from tests.simulator.small_rounds import MB, WHOLE_ROUND_BYTES, HandCosts, close, events, plan, play, small_world
from tests.small_run import small


class PerSample(HandCosts):
    """Costs in proportion to the samples, of which a batch has two; an optimizer step is 0.5 s on either side.

    So a part of one sample takes 0.5 s forward, 1 s up, 1.25 s at the server (1.75 s if it is the last one), 0.5 s
    down, and 1 s backward.
    """

    def step(self, client, cut, num_samples, length_tokens):
        step = super().step(client, cut, num_samples, length_tokens)
        step.client_forward_s *= num_samples / 2
        step.client_backward_s *= num_samples / 2
        step.activation_bytes = step.activation_bytes * num_samples // 2
        step.gradient_bytes = step.gradient_bytes * num_samples // 2
        step.server_step_s = 2.5 * num_samples / 2 + step.server_optimizer_s
        return step


in_two = partial(run_round, num_parts=2)


def test_two_clients_take_two_steps_in_two_parts_each():
    log, spans = play(PerSample(forward_s=(1.0, 1.5)), num_clients=2, num_steps=2, run=in_two, discipline="priority")
    assert events(spans, 0) == close(
        [
            ("download_adapter", -1, 0, 4),
            ("client_forward", 1, 4, 4.5),
            ("client_forward", 1, 4.5, 5),
            ("upload_activations", 1, 4.5, 5.5),  # while the second part is computed
            ("overlap_wait", 1, 5, 7.25),
            ("upload_activations", 1, 5.5, 6.5),
            ("download_gradients", 1, 6.75, 7.25),
            ("client_backward", 1, 7.25, 8.25),
            ("overlap_wait", 1, 8.25, 10.25),
            ("download_gradients", 1, 9.75, 10.25),
            ("client_backward", 1, 10.25, 11.25),
            ("client_optimizer", 1, 11.25, 11.75),
            ("client_forward", 2, 11.75, 12.25),
            ("client_forward", 2, 12.25, 12.75),
            ("upload_activations", 2, 12.25, 13.25),
            ("overlap_wait", 2, 12.75, 15),
            ("upload_activations", 2, 13.25, 14.25),
            ("download_gradients", 2, 14.5, 15),
            ("client_backward", 2, 15, 16),
            ("overlap_wait", 2, 16, 16.75),
            ("download_gradients", 2, 16.25, 16.75),
            ("client_backward", 2, 16.75, 17.75),
            ("client_optimizer", 2, 17.75, 18.25),
            ("upload_adapter", -1, 18.25, 21.25),
            ("round_wait", -1, 21.25, 24.75),
        ]
    )
    assert events(spans, 1) == close(
        [
            ("download_adapter", -1, 0, 4),
            ("client_forward", 1, 4, 4.75),
            ("client_forward", 1, 4.75, 5.5),
            ("upload_activations", 1, 4.75, 5.75),
            ("overlap_wait", 1, 5.5, 8.5),
            ("upload_activations", 1, 5.75, 6.75),
            ("download_gradients", 1, 8, 8.5),
            ("client_backward", 1, 8.5, 9.5),
            ("overlap_wait", 1, 9.5, 12),
            ("download_gradients", 1, 11.5, 12),
            ("client_backward", 1, 12, 13),
            ("client_optimizer", 1, 13, 13.5),
            ("client_forward", 2, 13.5, 14.25),
            ("client_forward", 2, 14.25, 15),
            ("upload_activations", 2, 14.25, 15.25),
            ("overlap_wait", 2, 15, 18),
            ("upload_activations", 2, 15.25, 16.25),
            ("download_gradients", 2, 17.5, 18),
            ("client_backward", 2, 18, 19),
            ("overlap_wait", 2, 19, 19.75),
            ("download_gradients", 2, 19.25, 19.75),
            ("client_backward", 2, 19.75, 20.75),
            ("client_optimizer", 2, 20.75, 21.25),
            ("upload_adapter", -1, 21.25, 24.25),
            ("round_wait", -1, 24.25, 24.75),
        ]
    )
    assert events(spans, -1) == close(
        [
            ("server_step", 1, 5.5, 6.75),  # client 0, first part
            ("server_step", 1, 6.75, 8),  # client 1, which has waited since 5.75
            ("server_step", 1, 8, 9.75),  # client 0, second part: there since 6.75, with the optimizer's 0.5
            ("server_step", 1, 9.75, 11.5),
            ("server_step", 2, 13.25, 14.5),
            ("server_step", 2, 14.5, 16.25),
            ("server_step", 2, 16.25, 17.5),
            ("server_step", 2, 17.5, 19.25),
            ("aggregate", -1, 24.25, 24.75),
        ]
    )
    assert log.end_s == pytest.approx(24.75, rel=1e-9)
    assert [c.num_bytes for c in log.clients] == [WHOLE_ROUND_BYTES] * 2  # those of sfl-v1


def test_in_one_part_a_round_is_that_of_v1():
    ends = [
        play(PerSample(forward_s=(1.0, 1.5)), num_clients=2, num_steps=2, run=run, latency_s=0.1)[0].end_s
        for run in (sfl_v1.run_round, partial(run_round, num_parts=1))
    ]
    assert ends[0] == pytest.approx(ends[1], rel=1e-9)


def test_the_client_with_the_most_to_do_afterwards_goes_first():
    # At the server: client 0 from 7 to 10. Client 1 is there from 7.2 on, client 2, with a step more to do, from 7.5.
    costs = HandCosts(forward_s=(1.0, 1.2, 1.5))
    plans = [plan(0), plan(1), plan(2, num_steps=2)]
    starts = {}
    for discipline in ("fifo", "priority"):
        _, spans = play(costs, plans, run=partial(run_round, num_parts=1), discipline=discipline)
        served = spans[spans.kind == "server_step"]
        uploads = spans[spans.kind == "upload_activations"].set_index("span_id")
        gradients = spans[(spans.kind == "download_gradients") & (spans.step == 1)]
        starts[discipline] = gradients.sort_values("start_s").client.tolist()
        assert len(served) == len(uploads) == 4
    assert starts == {"fifo": [0, 1, 2], "priority": [0, 2, 1]}


def test_a_client_that_goes_takes_everything_back_that_is_under_way():
    # At 6 its second part is half up, and its first at the server, 5.5 .. 6.75, which ends that for nobody.
    log, spans = play(PerSample(), [plan(0, leaves_s=6.0)], run=in_two)
    uploads = spans[spans.kind == "upload_activations"]
    assert uploads.num_bytes.tolist() == [MB, MB // 2]
    assert log.clients[0].num_bytes["upload_activations"] == MB + MB // 2
    assert log.clients[0].status == "dropped"
    assert events(spans, 0)[-1][0] == "upload_activations"
    assert log.end_s == pytest.approx(6, rel=1e-9)
    assert spans.end_s.max() == pytest.approx(6, rel=1e-9)


@given(st.integers(1, 64), st.integers(1, 16))
def test_micro_batches_hold_every_sample_once_and_are_as_even_as_can_be(num_samples, num_parts):
    sizes = micro_batches(num_samples, num_parts)
    assert sum(sizes) == num_samples
    assert len(sizes) == min(num_samples, num_parts)
    assert max(sizes) - min(sizes) <= 1 <= min(sizes)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 4),
    st.floats(0.1, 5),
    st.sampled_from([0.2 * MB, 1 * MB, 7 * MB]),
    st.sampled_from([0.0, 0.05]),
)
def test_what_is_predicted_for_a_step_is_what_the_clock_takes(num_parts, forward_s, uplink, latency_s):
    costs = PerSample(forward_s=(forward_s,))
    world, _ = small_world(costs, uplink=uplink, latency_s=latency_s)
    play_s = [
        played_s(world, 1, plan(0, num_steps=steps), partial(client_round, num_parts=num_parts)) for steps in (1, 2)
    ]
    route = Route(uplink_bytes_per_s=uplink, downlink_bytes_per_s=1 * MB, latency_s=latency_s)
    step = Step(client=0, cut=2, batch_size=2, length_tokens=8)
    predicted = pipelined_step(costs, step, route, num_parts=num_parts)
    assert play_s[1] - play_s[0] == pytest.approx(predicted.step_s, rel=1e-6)
    in_one = split_step(costs, step, route)
    assert (predicted.up_bytes, predicted.down_bytes) == (in_one.up_bytes, in_one.down_bytes)


def test_its_mathematics_and_its_traffic_are_those_of_v1():
    pipelined, plain = (resolve(small(protocol={"kind": kind})) for kind in ("sfl-pipelined", "sfl-v1"))
    assert recipe_of(pipelined, "here") == recipe_of(plain, "here")
    whole = plain.costs.step(0, 2, 5, 32)
    parts = [pipelined.costs.step(0, 2, size, 32) for size in micro_batches(5, 4)]
    for name in ("activation_bytes", "label_bytes", "gradient_bytes"):
        assert sum(getattr(part, name) for part in parts) == getattr(whole, name)
    assert 0 < whole.server_optimizer_s < whole.server_step_s


def test_energy_is_unknown_where_a_device_does_several_things_at_once_and_known_elsewhere():
    energy = {"costs": {"energy": "assumed"}, "execution": {"trainer": "cost-only"}}
    for kind in ("sfl-pipelined", "local-loss", "sl", "fedbuff"):
        run = splitft.run(small(**energy, protocol={"kind": kind}))
        assert run.rounds.energy_j.isna().all() == (kind == "sfl-pipelined"), kind
        of_clients = run.spans[run.spans.client >= 0]
        assert of_clients.energy_j.isna().all() == (kind == "sfl-pipelined"), kind
