"""The U-shape on the clock: a round of two clients and two steps by hand, what goes with it, and what it costs."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import splitft
from simulator.clock.alone import path_s
from simulator.costs.memory import max_feasible_cut
from simulator.costs.prediction import predict
from simulator.costs.seconds import compute_s, memory_s
from simulator.protocols import sfl_v1, u_shape
from simulator.protocols.rounds import CutMove
from simulator.protocols.u_shape import client_round
from simulator.setting import resolve
from simulator.verdict import HEAD_STAYS_WORDS, can_cut_affect_learning, privacy
from splitft.checking import check_json
from tests.simulator.policies.test_policies_in_runs import made, scenario
from tests.simulator.small_rounds import MB, HandCosts, close, events, plan, play, small_world
from tests.small_run import small

STEP_BYTES = {
    "upload_activations": 2 * MB,
    "download_activations": 2 * MB,
    "upload_gradients": 1 * MB,
    "download_gradients": 1 * MB,
}
"""Of one step: activations and gradients pass either way."""


def step(number, start, forward=1.0, *, waits=(0.0, 0.0)):
    """Return the events of a step: forward, up 2, server 1, down 2, head 0.5, up 1, server 2, down 1, back 2, 0.5.

    `waits` are those before the server's two turns.
    """
    lengths = [
        ("client_forward", forward),
        ("upload_activations", 2),
        ("server_wait", waits[0]),
        ("server_forward", 1),
        ("download_activations", 2),
        ("client_head", 0.5),
        ("upload_gradients", 1),
        ("server_wait", waits[1]),
        ("server_backward", 2),
        ("download_gradients", 1),
        ("client_backward", 2),
        ("client_optimizer", 0.5),
    ]
    ends = list(itertools.accumulate((length for _, length in lengths), initial=start))
    return [(kind, number, *ends[i : i + 2]) for i, (kind, length) in enumerate(lengths) if length]


def test_two_clients_take_two_steps_and_turn_to_the_server_twice_in_each():
    log, spans = play(HandCosts(forward_s=(1.0, 1.5)), num_clients=2, num_steps=2, run=u_shape.run_round)
    # First step, from 4: client 0 is at the server 7 .. 8 and, after 2 + 0.5 + 1 s, 11.5 .. 13.5; its step ends at 17.
    # Client 1 comes at 7.5 and waits until 8: 8 .. 9; it comes back at 12.5 and waits until 13.5: 13.5 .. 15.5; the
    # step ends at 19. Second step: client 0, from 17, is served 20 .. 21 and 24.5 .. 26.5 and done at 30; client 1,
    # from 19, is served 22.5 .. 23.5 and 27 .. 29, meets nobody and is done at 32.5. Adapters 3 s, averaging 0.5 s.
    assert events(spans, 0) == close(
        [
            ("download_adapter", -1, 0, 4),
            *step(1, 4),
            *step(2, 17),
            ("upload_adapter", -1, 30, 33),
            ("round_wait", -1, 33, 36),
        ]
    )
    assert events(spans, 1) == close(
        [
            ("download_adapter", -1, 0, 4),
            *step(1, 4, 1.5, waits=(0.5, 1.0)),
            *step(2, 19, 1.5),
            ("upload_adapter", -1, 32.5, 35.5),
            ("round_wait", -1, 35.5, 36),
        ]
    )
    assert events(spans, -1) == close([("aggregate", -1, 35.5, 36)])
    assert log.end_s == pytest.approx(36, rel=1e-9)
    sent = {"download_adapter": 4 * MB, "upload_adapter": 3 * MB} | {kind: 2 * n for kind, n in STEP_BYTES.items()}
    assert [c.num_bytes for c in log.clients] == [sent] * 2


def test_labels_are_not_sent_whatever_they_are_worth():
    log, _ = play(HandCosts(label_bytes=1000), validate=True, run=u_shape.run_round)
    assert log.clients[0].num_bytes == STEP_BYTES | {
        "download_adapter": 4 * MB,
        "upload_adapter": 3 * MB,
        "upload_validation": 2 * MB,
        "download_validation": 2 * MB,
    }


def test_measuring_goes_the_way_there_alone_and_ends_on_the_client():
    _, spans = play(HandCosts(), validate=True, run=u_shape.run_round)
    # the step is over at 17; then forward 1, up 2, server 1, down 2, head without its gradient 0.25
    assert events(spans, 0)[11:17] == close(
        [
            ("validation_forward", -1, 17, 18),
            ("upload_validation", -1, 18, 20),
            ("server_validation", -1, 20, 21),
            ("download_validation", -1, 21, 23),
            ("validation_head", -1, 23, 23.25),
            ("upload_adapter", -1, 23.25, 26.25),
        ]
    )


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.1, 3.0), min_size=1, max_size=3), st.integers(1, 2))
def test_a_round_in_which_nobody_meets_is_the_same_without_events(forward_s, num_steps):
    found = []
    for fast_forward in (True, False):
        world, writer = small_world(
            HandCosts(forward_s=tuple(forward_s)), num_clients=3, slots=3, fast_forward=fast_forward
        )
        plans = [plan(k, num_steps=num_steps, validate=True) for k in range(len(forward_s))]
        u_shape.run_round(world, 1, plans)
        writer.spans.flush_round(1)
        found.append(writer.records().spans.sort_values(["client", "start_s", "end_s"], ignore_index=True))
        assert (world.num_forwarded, world.num_in_vain) in ([(1, 0), (0, 1)] if fast_forward else [(0, 0)])
    columns = ["kind", "actor", "client", "step", "start_s", "end_s", "num_bytes"]
    assert found[0][columns].equals(found[1][columns])


def test_a_round_in_which_nothing_ends_at_the_same_moment_needs_no_events():
    world, _ = small_world(HandCosts(forward_s=(1.0, 1.37, 2.11)), num_clients=3, slots=3)
    u_shape.run_round(world, 1, [plan(k, num_steps=2, validate=True) for k in range(3)])
    assert (world.num_forwarded, world.num_in_vain) == (1, 0)


def test_of_a_client_that_goes_between_its_turns_the_server_does_no_more():
    # client 0 is served 7 .. 8 and goes at 9; client 1's turns are then as if it were alone, but for its wait until 8
    log, spans = play(HandCosts(forward_s=(1.0, 1.5)), [plan(0, leaves_s=9.0), plan(1)], run=u_shape.run_round)
    assert [c.status for c in log.clients] == ["dropped", "finished"]
    assert log.clients[0].num_bytes["download_activations"] == 1 * MB  # half of it had come
    assert events(spans, 1)[1:-2] == close(step(1, 4, 1.5, waits=(0.5, 0.0)))
    assert set(spans[spans.client == -1].kind) == {"aggregate"}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.1, 3.0), min_size=1, max_size=4), st.integers(1, 3))
def test_without_contention_a_round_takes_the_slowest_clients_path(forward_s, num_steps):
    costs = HandCosts(forward_s=tuple(forward_s), server_step_s=0.0)
    costs.aggregate_s = lambda _: 0.0
    changes = {"num_clients": len(forward_s), "num_steps": num_steps, "latency_s": 0.01}
    log, _ = play(costs, run=u_shape.run_round, **changes)
    # adapters 4 + 3 s; a step is forward + 2 + 2 + 0.5 + 1 + 1 + 2.5 s; messages pay 0.01 s each:
    # four in a step, and the adapter's both ways
    paths = [7 + 0.02 + num_steps * (9 + forward + 0.04) for forward in forward_s]
    assert log.end_s == pytest.approx(max(paths), rel=1e-9)
    world, _ = small_world(costs, num_clients=len(forward_s), latency_s=0.01)
    alone = [path_s(world, 1, plan(k, num_steps=num_steps), client_round) for k in range(len(forward_s))]
    assert alone == pytest.approx(paths, rel=1e-9)


def shaped(**changes):
    return resolve(small(**{"protocol": {"kind": "u-shape"}, **changes}))


def test_the_head_moves_to_the_client_and_both_codecs_work_in_both_places():
    codec = {"activations": "int8", "gradients": "bf16"}
    setting = shaped(workload={"codec": codec})
    u, split = setting.costs.u_shape_step(0, 2, 2, 32), setting.costs.step(0, 2, 2, 32)
    shape, device, server = setting.shape, setting.fleet.device(0), setting.server
    # 64 tokens of d values: int8 with a scale of 4 bytes each, and bf16
    assert u.activation_bytes == 64 * (shape.hidden_size + 4)
    assert u.gradient_bytes == 64 * 2 * shape.hidden_size
    plain_bytes = 4 * 64 * shape.hidden_size
    moved = plain_bytes + u.activation_bytes, plain_bytes + u.gradient_bytes
    codes_s, server_codes_s = sum(memory_s(n, device) for n in moved), sum(memory_s(n, server) for n in moved)
    assert u.client_forward_s == split.client_forward_s
    assert u.client_backward_s == split.client_backward_s
    assert u.client_optimizer_s == split.client_optimizer_s
    # 2dV FLOPs a token in either direction at each side's own speed, which the rest of what it does tells
    flops = 2 * 64 * shape.hidden_size * shape.vocab_size
    head_s, saved_s = (u.head_forward_s + u.head_backward_s - codes_s, split.server_step_s - u.server_step_s)
    assert head_s > 0
    rates = [rate_of(setting, device), rate_of(setting, server)]
    assert head_s == pytest.approx(2 * flops / rates[0], rel=1e-9)
    assert saved_s + server_codes_s == pytest.approx(2 * flops / rates[1], rel=1e-6)


def rate_of(setting, device):
    """Return the FLOPs a second that a device reaches on 64 tokens."""
    return 1e12 / compute_s(10**12, num_tokens=64, device=device, dtype="float32")


def test_prediction_and_clock_agree():
    changes = {
        "protocol": {"kind": "u-shape"},
        "policy": {"kind": "fixed", "cut": 3},
        "fleet": {"clients": [{"device": "rpi5-8gb", "network": "lan-1gbe"}]},
    }
    run = splitft.run(scenario(**changes, rounds=1))
    spans = run.spans[(run.spans.client == 0) & (run.spans.step == 1)]
    setting, _, _ = made(**changes)
    found = predict(setting)  # for batches of the mean length, and all have the same
    row = next(row for row in found.cuts if row.cut == 3)
    sent = spans.groupby("actor", observed=True).num_bytes.sum()
    assert (sent.uplink, sent.downlink) == (row.up_bytes, row.down_bytes)
    assert spans.end_s.max() - spans.start_s.min() == pytest.approx(found.devices[0].step_s[2], rel=1e-9)


def test_the_client_holds_the_head_and_the_server_everybodys_activations_between_their_turns():
    setting, split = shaped(), resolve(small())
    ours, theirs = setting.memory.client(3), split.memory.client(3)
    shape, tokens = split.shape, 2 * setting.memory.length_tokens
    # tiny's matrix is tied: the client has it already, so it is the final norm alone that it gets
    assert ours.weights_bytes - theirs.weights_bytes == 4 * shape.num_final_norm_parameters
    assert ours.logits_bytes == 3 * 4 * tokens * shape.vocab_size
    of_server, split_server = (s.memory.server([3, 3, 3], steps_at_once=1) for s in (setting, split))
    assert of_server.logits_bytes == 0
    assert split_server.weights_bytes - of_server.weights_bytes == 4 * shape.num_head_parameters
    one = setting.memory.server([3], steps_at_once=1)
    assert of_server.activations_bytes == 3 * one.activations_bytes
    assert of_server.workspace_bytes == one.workspace_bytes
    device = setting.fleet.device(0)
    assert max_feasible_cut(device, setting.memory) <= max_feasible_cut(device, split.memory)


@pytest.mark.parametrize(("kind", "has_head"), [("u-shape", True), ("local-loss", True), ("sfl-v1", False)])
def test_a_client_that_begins_without_weights_is_sent_the_head_where_it_needs_one(kind, has_head):
    new = CutMove(stored_cut=0, cuts=())
    setting = resolve(small(protocol={"kind": kind}))
    norm_bytes = 4 * setting.shape.num_final_norm_parameters  # the matrix is tied to the embeddings
    without = resolve(small()).costs.move(2, new).weights_bytes
    assert setting.costs.move(2, new).weights_bytes == without + has_head * norm_bytes
    known = CutMove(stored_cut=2, cuts=())
    assert setting.costs.move(3, known) == resolve(small()).costs.move(3, known)


def test_users_are_told_that_labels_stay_and_activations_do_not():
    plain = {"lora": {"cut_rank_sides": "none"}}
    setting = shaped(workload=plain)
    assert privacy(setting) == HEAD_STAYS_WORDS
    assert check_json(setting)["labels_leave"] is False
    assert can_cut_affect_learning(setting) == "no: it changes time, memory and energy only"
    lossy = shaped(workload={**plain, "codec": {"gradients": "int8"}})
    assert can_cut_affect_learning(lossy) == "yes: gradients pass the cut as int8"


def test_adaptive_cuts_see_both_turns_and_the_head():
    run = splitft.run(scenario(protocol={"kind": "u-shape"}, policy={"kind": "splitft"}, rounds=4))
    assert run.clients.groupby("client").cut.nunique().max() > 1
    assert (run.clients.status == "finished").all()


def test_energy_of_every_span_is_charged_by_who_is_at_work():
    run = splitft.run(scenario(protocol={"kind": "u-shape"}, costs={"energy": "assumed"}, rounds=1))
    own = run.spans[run.spans.client >= 0]
    assert own.energy_j.notna().all()
    assert (own[own.kind.isin(u_shape.STEP.own)].energy_j > 0).all()
    assert run.rounds.energy_j.iloc[0] == pytest.approx(own.energy_j.sum())


def test_it_is_dearer_than_sfl_v1_by_the_way_to_the_head_and_back():
    # 4 + 3 s for adapters and a step of 13 s, against one of 9.5 s
    ends = [play(HandCosts(), run=p.run_round)[0].end_s for p in (u_shape, sfl_v1)]
    assert ends == [pytest.approx(20.25, rel=1e-9), pytest.approx(16.75, rel=1e-9)]
