import pytest

from analysis.frames import client_totals, evaluations, round_spans, span_totals
from analysis.metrics import (
    SlowestClient,
    TargetReached,
    bytes_by_kind,
    critical_path,
    mean_client_time,
    num_cut_changes,
    slowest_by_round,
    slowest_client,
    time_to_perplexity,
    working_s,
)
from simulator.records.recorder import RunWriter
from simulator.records.runs import SERVER_CLIENT, ClientRow, EvalRow, RoundRow, RunRecords
from tests.analysis.synthetic import AGGREGATE_S, synthetic_run


def add_client(writer: RunWriter, number: int, client: int, cut: int) -> None:
    writer.add_client(
        ClientRow(
            round=number, client=client, device=f"device-{client}", network="lan", cut=cut, priced_cut=cut, max_cut=7,
            cut_reason="policy", moved_bytes=0, num_steps=1, num_tokens=10, train_loss=None, val_loss=None, start_s=0.0,
            end_s=1.0, status="finished",
        )
    )  # fmt: skip


def hand_made() -> RunRecords:
    """Return two clients in one round, then client 1 alone in another.

    round 1, client 0: forward 0-4, up 4-5 (100 B), server 5-6, backward 6-8; then it waits 8-12
             client 1: forward 0-1, up 1-2 (50 B), waits for the server 2-6, server 6-9, down 9-11 (70 B); waits 11-12
             server: aggregates 11-12
    round 2, client 1: forward 12-13, up 13-18 (50 B), server 18-19; server aggregates 19-20
    """
    writer = RunWriter(None, {"scenario": {"name": "hand-made", "evaluation": {"targets": {"perplexity": [20.0]}}}})
    add = writer.spans.add
    forward_0 = add("client_forward", "client", 0, 1, 0, 0.0, 4.0)
    forward_1 = add("client_forward", "client", 1, 1, 0, 0.0, 1.0)
    up_1 = add("upload_activations", "uplink", 1, 1, 0, 1.0, 2.0, 50, forward_1)
    up_0 = add("upload_activations", "uplink", 0, 1, 0, 4.0, 5.0, 100, forward_0)
    server_0 = add("server_step", "server", 0, 1, 0, 5.0, 6.0, 0, up_0)
    add("server_wait", "idle", 1, 1, 0, 2.0, 6.0, 0, up_1)
    add("client_backward", "client", 0, 1, 0, 6.0, 8.0, 0, server_0)
    server_1 = add("server_step", "server", 1, 1, 0, 6.0, 9.0, 0, server_0)
    down_1 = add("download_gradients", "downlink", 1, 1, 0, 9.0, 11.0, 70, server_1)
    aggregate = add("aggregate", "server", SERVER_CLIENT, 1, -1, 11.0, 12.0, 0, down_1)
    add("round_wait", "idle", 0, 1, -1, 8.0, 12.0)
    add("round_wait", "idle", 1, 1, -1, 11.0, 12.0)
    for client, cut in ((0, 2), (1, 2)):
        add_client(writer, 1, client, cut)
    writer.end_round(RoundRow(1, 0.0, 12.0, 2, 150, 70, None))
    forward = add("client_forward", "client", 1, 2, 0, 12.0, 13.0, 0, aggregate)
    up = add("upload_activations", "uplink", 1, 2, 0, 13.0, 18.0, 50, forward)
    server = add("server_step", "server", 1, 2, 0, 18.0, 19.0, 0, up)
    add("aggregate", "server", SERVER_CLIENT, 2, -1, 19.0, 20.0, 0, server)
    add("round_wait", "idle", 1, 2, -1, 19.0, 20.0)
    add_client(writer, 2, 1, 3)
    writer.end_round(RoundRow(2, 12.0, 20.0, 1, 50, 0, None))
    for number, time_s, perplexity in ((0, 0.0, 40.0), (1, 12.0, 20.0), (2, 20.0, 18.0)):
        writer.add_eval(EvalRow(number, time_s, "global", SERVER_CLIENT, 1.0, perplexity, None, 100))
    writer.add_eval(EvalRow(0, 0.0, "client", 1, 1.0, 2.0, None, 100))  # a client's own does not meet a target
    return writer.finish()


@pytest.fixture(scope="module")
def run() -> RunRecords:
    return hand_made()


def test_bytes_are_counted_by_direction_and_kind(run: RunRecords) -> None:
    rows = bytes_by_kind(span_totals(run)).to_numpy().tolist()
    # up 100 + 50 + 50 over both rounds, down 70; kinds without bytes do not appear
    assert rows == [["uplink", "upload_activations", 200], ["downlink", "download_gradients", 70]]


def test_mean_time_is_taken_over_the_rounds_a_client_took_part_in(run: RunRecords) -> None:
    seconds = mean_client_time(client_totals(span_totals(run)))
    # client 1 over two rounds: forward (1 + 1) / 2, up (1 + 5) / 2, server (3 + 1) / 2, wait for it 4 / 2, down 2 / 2
    expected = {"client_forward": 1.0, "upload_activations": 3.0, "server_step": 2.0, "server_wait": 2.0,
                "download_gradients": 1.0, "client_backward": 0.0, "round_wait": 1.0}  # fmt: skip
    assert seconds.loc[1].to_dict() == expected
    assert seconds.loc[0].sum() == 12.0  # one round, covered from its start to its end
    # without waiting for the round's end: client 0 works 8 of 12 s, client 1 (11 + 7) / 2
    assert working_s(seconds).to_dict() == {0: 8.0, 1: 9.0}


def test_the_slowest_client_of_a_round_is_the_last_to_finish_its_work(run: RunRecords) -> None:
    slowest = slowest_by_round(client_totals(span_totals(run)))
    # round 1: client 1 at 11 s, of which waiting for the server took most (4 s); round 2: its upload, 5 of 7 s
    assert slowest.to_numpy().tolist() == [
        [1, 1, 11.0, "server_wait", 4.0, 11.0],
        [2, 1, 19.0, "upload_activations", 5.0, 7.0],
    ]


def test_the_slowest_client_of_the_run_is_given_with_its_largest_kind(run: RunRecords) -> None:
    # client 1 is last twice; over both rounds its uploads take 6 of 11 + 7 s
    assert slowest_client(run, client_totals(span_totals(run))) == SlowestClient(
        client=1, device="device-1", network="lan", num_rounds=2, kind="upload_activations", kind_frac=6 / 18
    )


def test_ties_for_the_slowest_go_to_the_lowest_client() -> None:
    writer = RunWriter(None, {})
    for client in (2, 1):
        writer.spans.add("client_forward", "client", client, 1, 0, 0.0, 1.0)
        add_client(writer, 1, client, 2)
    writer.end_round(RoundRow(1, 0.0, 1.0, 2, 0, 0, None))
    run = writer.finish()
    assert slowest_by_round(client_totals(span_totals(run)))["client"].to_list() == [1]


def test_ties_over_the_run_go_to_the_lowest_client() -> None:
    writer = RunWriter(None, {})
    for number, last in ((1, 2), (2, 1)):  # client 2 is last in round 1, client 1 in round 2: once each
        for client in (1, 2):
            start_s = 2.0 * (number - 1)
            end_s = start_s + (2.0 if client == last else 1.0)
            writer.spans.add("client_forward", "client", client, number, 0, start_s, end_s)
            add_client(writer, number, client, 2)
        writer.end_round(RoundRow(number, start_s, start_s + 2.0, 2, 0, 0, None))
    run = writer.finish()
    slowest = slowest_client(run, client_totals(span_totals(run)))
    assert slowest is not None
    assert (slowest.client, slowest.num_rounds) == (1, 1)


def test_the_critical_path_follows_causes_from_the_end_to_the_start(run: RunRecords) -> None:
    path = critical_path(round_spans(run, 1))
    # the aggregation waited for client 1's download, that for the server, and the server for client 0's upload
    assert list(zip(path["kind"], path["client"], strict=True)) == [
        ("client_forward", 0), ("upload_activations", 0), ("server_step", 0), ("server_step", 1),
        ("download_gradients", 1), ("aggregate", SERVER_CLIENT),
    ]  # fmt: skip


def test_the_critical_path_of_a_round_starts_in_that_round(run: RunRecords) -> None:
    path = critical_path(round_spans(run, 2))
    assert path["start_s"].to_list() == [12.0, 13.0, 18.0, 19.0]


@pytest.mark.parametrize("number", [1, 3])
def test_a_critical_path_fills_the_round_without_gaps(number: int) -> None:
    run = synthetic_run(num_rounds=3)
    path = critical_path(round_spans(run, number))
    row = run.rounds[run.rounds["round"] == number].iloc[0]
    assert path["start_s"].to_list() == pytest.approx([row["start_s"], *path["end_s"].to_list()[:-1]])
    assert path["end_s"].iloc[-1] == pytest.approx(row["end_s"])
    assert path["kind"].iloc[-1] == "aggregate"
    assert path["end_s"].iloc[-1] - path["start_s"].iloc[-1] == pytest.approx(AGGREGATE_S)


def test_spans_of_a_round_that_is_not_there_are_an_error(run: RunRecords) -> None:
    with pytest.raises(ValueError, match="round 3 has no spans; the run has 2 rounds"):
        round_spans(run, 3)


def test_an_evaluation_knows_all_traffic_until_then(run: RunRecords) -> None:
    # before training 0; round 1: 150 + 70; round 2: + 50
    assert evaluations(run)["sent_bytes"].to_list() == [0, 220, 270]
    assert evaluations(run, "client")["client"].to_list() == [1]


def test_a_target_is_met_at_the_first_global_evaluation_at_or_below_it(run: RunRecords) -> None:
    expected = TargetReached(perplexity=20.0, round=1, time_s=12.0, sent_bytes=220)
    assert time_to_perplexity(run, 20.0) == expected
    assert time_to_perplexity(run, 19.9) == TargetReached(perplexity=19.9, round=2, time_s=20.0, sent_bytes=270)
    assert time_to_perplexity(run, 50.0) == TargetReached(perplexity=50.0, round=0, time_s=0.0, sent_bytes=0)


def test_a_target_that_was_never_met_has_no_time(run: RunRecords) -> None:
    assert time_to_perplexity(run, 17.9) == TargetReached(perplexity=17.9)


def test_cut_changes_are_counted_between_rounds_a_client_took_part_in(run: RunRecords) -> None:
    assert num_cut_changes(run) == 1  # client 1 from 2 to 3; client 0 was there once
    # after one round, client 0 goes 2 -> 1, clients 1 to 4 go 2 -> 3; then client 4 goes on to 4 and 5: 5 + 1 + 1
    assert num_cut_changes(synthetic_run(num_rounds=5)) == 7


def test_totals_of_the_synthetic_run_cover_every_clients_round_once() -> None:
    run = synthetic_run(num_rounds=2)
    totals = client_totals(span_totals(run))
    covered_s = totals.groupby(["round", "client"], as_index=False)["duration_s"].sum()
    lengths_s = (run.rounds["end_s"] - run.rounds["start_s"]).to_list()
    assert covered_s["duration_s"].to_list() == pytest.approx([lengths_s[0]] * 5 + [lengths_s[1]] * 5)
    sent = totals.groupby("actor", observed=True)["num_bytes"].sum()
    assert sent["uplink"] == run.rounds["up_bytes"].sum()
    assert sent["downlink"] == run.rounds["down_bytes"].sum()
