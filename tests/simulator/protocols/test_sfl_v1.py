"""SplitFed V1 on the clock: event times of small rounds, derived by hand."""

import pytest

from tests.simulator.small_rounds import MB, HandCosts, ends, plan, play, times


def test_one_client_goes_through_its_round_step_by_step():
    _, spans = play(HandCosts())
    assert ends(spans, 0) == pytest.approx(
        {
            "download_adapter": 4,  # 4 MB at 1 MB/s
            "client_forward": 5,  # + 1
            "upload_activations": 7,  # + 2 MB at 1 MB/s
            "server_step": 10,  # + 3; nobody else is there, so no wait
            "download_gradients": 11,  # + 1 MB at 1 MB/s
            "client_backward": 13,  # + 2
            "client_optimizer": 13.5,  # + 0.5
            "upload_adapter": 16.5,  # + 3 MB at 1 MB/s
            "round_wait": 16.75,  # + aggregation 0.25
        },
        rel=1e-9,
    )


def test_each_further_step_repeats_the_step_and_nothing_else():
    # a step is 13.5 - 4 = 9.5 s
    log, _ = play(HandCosts(), num_steps=3)
    assert log.end_s == pytest.approx(16.75 + 2 * 9.5, rel=1e-9)
    assert log.clients[0].seconds["server_step"] == pytest.approx(9, rel=1e-9)


def test_a_client_merges_what_aggregation_left_to_the_base_model_before_it_computes():
    # 1 s for each of two blocks, after 4 s of download
    log, spans = play(HandCosts(), [plan(0, stacked=(16, 16))])
    assert times(spans, 0)["client_merge"] == pytest.approx((4, 6), rel=1e-9)
    assert log.end_s == pytest.approx(16.75 + 2, rel=1e-9)
    assert spans[spans.kind == "client_merge"].actor.tolist() == ["client"]


def test_latency_is_paid_once_by_each_message():
    # four messages: adapter down, activations with labels up, gradients down, adapter up; labels 1 MB more to send
    log, spans = play(HandCosts(label_bytes=1 * MB), latency_s=0.1)
    assert log.end_s == pytest.approx(16.75 + 1 + 4 * 0.1, rel=1e-9)
    labels = spans[spans.kind == "upload_labels"].iloc[0]
    assert labels.end_s - labels.start_s == pytest.approx(1, rel=1e-9)  # no latency of its own


def test_a_client_waits_while_the_server_is_busy():
    # client 1 is half a second behind: at 7.5 s the server is busy with client 0 until 10 s; it serves 10 .. 13
    log, spans = play(HandCosts(forward_s=(1.0, 1.5)), num_clients=2)
    wait = spans[spans.kind == "server_wait"]
    assert list(wait.client) == [1]
    assert (wait.start_s.item(), wait.end_s.item()) == pytest.approx((7.5, 10), rel=1e-9)
    first, second = ends(spans, 0), ends(spans, 1)
    assert second["server_step"] == pytest.approx(13, rel=1e-9)
    # then download 1, backward 2, optimizer 0.5, adapter 3: 19.5; aggregation of two 0.5
    assert second["upload_adapter"] == pytest.approx(19.5, rel=1e-9)
    assert first["round_wait"] == second["round_wait"] == pytest.approx(20, rel=1e-9)
    assert log.end_s == pytest.approx(20, rel=1e-9)


def test_two_clients_share_the_servers_uplink_max_min():
    # Both start 2 MB at 5 s and 5.5 s over a server uplink of 1.5 MB/s, each capped at 1 MB/s by its own link.
    # 5 .. 5.5: client 0 alone at 1 MB/s: 0.5 MB. From 5.5 both at 0.75 MB/s: client 0 ends its 1.5 MB at 7.5.
    # Client 1 has sent 1.5 MB by then; its last 0.5 MB go at 1 MB/s: 8.
    _, spans = play(HandCosts(forward_s=(1.0, 1.5)), num_clients=2, server_uplink=1.5 * MB)
    assert ends(spans, 0)["upload_activations"] == pytest.approx(7.5, rel=1e-9)
    assert ends(spans, 1)["upload_activations"] == pytest.approx(8, rel=1e-9)


def test_a_policy_that_reads_performances_makes_clients_pay_for_validation():
    # forward 1, upload 2, server 1.5 before the adapter goes up
    with_validation, spans = play(HandCosts(), validate=True)
    assert with_validation.end_s == pytest.approx(16.75 + 4.5, rel=1e-9)
    assert (spans[spans.kind.str.contains("validation")].step == -1).all()


def test_every_instant_of_a_participant_is_covered_by_exactly_one_span():
    log, spans = play(
        HandCosts(forward_s=(1.0, 1.5, 1.2), label_bytes=1000), num_clients=3, num_steps=2, latency_s=0.01
    )
    for client in range(3):
        own = spans[spans.client == client].sort_values("start_s")
        assert own.start_s.iloc[0] == log.start_s
        assert own.end_s.iloc[-1] == log.end_s
        assert (own.start_s.to_numpy()[1:] == own.end_s.to_numpy()[:-1]).all()


def test_the_cause_of_a_served_step_after_waiting_is_the_step_that_freed_the_slot():
    _, spans = play(HandCosts(forward_s=(1.0, 1.5)), num_clients=2)
    served = spans[spans.kind == "server_step"].set_index("client")
    assert served.loc[1, "cause_id"] == served.loc[0, "span_id"]


def test_the_aggregation_is_caused_by_the_last_adapter_to_arrive():
    _, spans = play(HandCosts(forward_s=(1.0, 1.5)), num_clients=2)
    aggregate = spans[spans.kind == "aggregate"].iloc[0]
    uploads = spans[spans.kind == "upload_adapter"].set_index("client")
    assert aggregate.cause_id == uploads.loc[1, "span_id"]
    assert aggregate.client == -1
