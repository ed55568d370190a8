"""A tiny recorded run that the tests of records and of the recorder share."""

from pathlib import Path

from simulator.records.recorder import RunWriter
from simulator.records.runs import SERVER_CLIENT, ClientRow, EvalRow, RoundRow, RunRecords

META = {"scenario": {"name": "two-rounds"}, "fingerprint": "abc"}


def record_round(writer: RunWriter, number: int) -> None:
    """Record one client that works 2 s, sends 100 bytes in 1 s, and waits 0.5 s for the aggregation."""
    start_s = 3.5 * (number - 1)
    work = writer.spans.add("client_forward", "client", 0, number, 0, start_s, start_s + 2.0)
    sent = writer.spans.add("upload_adapter", "uplink", 0, number, -1, start_s + 2.0, start_s + 3.0, 100, work)
    writer.spans.add("aggregate", "server", SERVER_CLIENT, number, -1, start_s + 3.0, start_s + 3.5, 0, sent)
    writer.spans.add("round_wait", "idle", 0, number, -1, start_s + 3.0, start_s + 3.5, 0, sent)
    writer.add_client(
        ClientRow(
            round=number, client=0, device="rpi5-8gb", network="lan", cut=2, priced_cut=2, max_cut=7,
            cut_reason="fixed", moved_bytes=0, num_steps=1, num_tokens=512, train_loss=4.5, val_loss=None,
            start_s=start_s, end_s=start_s + 3.0, status="finished",
        )
    )  # fmt: skip
    writer.add_eval(EvalRow(number, start_s + 3.5, "global", SERVER_CLIENT, 4.0, 54.598, None, 1000))
    writer.end_round(RoundRow(number, start_s, start_s + 3.5, 1, 100, 0, None))


def two_rounds(folder: Path | None = None) -> RunRecords:
    """Return the finished run."""
    with RunWriter(folder, META) as writer:
        record_round(writer, 1)
        record_round(writer, 2)
        return writer.finish(summary={"num_rounds": 2})
