"""A small stand-in for a run: split training of a few unlike clients, with times that add up, written by `RunWriter`.

Independent of the simulator: one FIFO server slot, links without contention, costs from a table. Analysis needs records
that look like a run's; nothing here claims to be right about devices.
"""

import heapq
import math
from dataclasses import dataclass, field
from pathlib import Path

from simulator.records.recorder import RunWriter
from simulator.records.runs import NO_CAUSE, OUTSIDE_STEPS, SERVER_CLIENT, ClientRow, EvalRow, RoundRow, RunRecords

NUM_BLOCKS = 8
ACTIVATION_BYTES = 262_144  # 4 samples x 128 tokens x 128 hidden x 4 bytes
LABEL_BYTES = 2_064  # 4 x 128 labels and 4 lengths, 4 bytes each
ADAPTER_BYTES_PER_BLOCK = 32_768
SERVER_BLOCK_S = 0.05
AGGREGATE_S = 0.02

# device, network, seconds of a block's forward pass, uplink and downlink in bytes a second
KINDS = (
    ("rpi5-8gb", "us-fixed-user-2025", 0.30, 1.5e6, 8e6),
    ("jetson-orin-nano-8gb", "wifi5-2x2-cap", 0.10, 4e6, 4e6),
    ("jetson-orin-nano-8gb", "wifi5-2x2-cap", 0.11, 3e6, 3e6),
    ("apple-m2-16gb", "us-fixed-user-2025", 0.04, 1.5e6, 8e6),
    ("rtx-3060-12gb", "us-fixed-user-2025", 0.01, 1.5e6, 8e6),
)


@dataclass
class Client:
    """One client on its way through a round; its last span is the next one's cause."""

    number: int
    cut: int = 2
    round: int = 0
    step: int = OUTSIDE_STEPS
    now_s: float = 0.0
    cause_id: int = NO_CAUSE
    sent: dict[str, int] = field(default_factory=lambda: {"uplink": 0, "downlink": 0})

    @property
    def kind(self) -> tuple[str, str, float, float, float]:
        return KINDS[self.number % len(KINDS)]

    @property
    def block_s(self) -> float:
        return self.kind[2] * (1 + 0.1 * (self.number // len(KINDS) % 7))  # clones differ a little


class Recorder:
    """Plays rounds and records them."""

    def __init__(self, writer: RunWriter, num_clients: int, num_steps: int) -> None:
        self.writer = writer
        self.clients = [Client(number) for number in range(num_clients)]
        self.num_steps = num_steps
        self.now_s = 0.0
        self.cause_id = NO_CAUSE

    def play_round(self, number: int) -> None:
        start_s = self.now_s
        for client in self.clients:
            client.round, client.step, client.now_s, client.cause_id = number, OUTSIDE_STEPS, start_s, self.cause_id
            client.sent = {"uplink": 0, "downlink": 0}
            self.send(client, "download_adapter", "downlink", client.cut * ADAPTER_BYTES_PER_BLOCK)
        arrivals = [(self.step_until_server(client), client.number) for client in self.clients]
        heapq.heapify(arrivals)
        free_s, free_cause = start_s, NO_CAUSE
        while arrivals:
            client = self.clients[heapq.heappop(arrivals)[1]]
            if free_s > client.now_s:
                self.spend(client, "server_wait", "idle", free_s - client.now_s)
                client.cause_id = free_cause
            self.spend(client, "server_step", "server", (NUM_BLOCKS - client.cut) * SERVER_BLOCK_S)
            free_s, free_cause = client.now_s, client.cause_id
            self.step_after_server(client)
            if client.step + 1 < self.num_steps:
                heapq.heappush(arrivals, (self.step_until_server(client), client.number))
            else:
                client.step = OUTSIDE_STEPS
                self.send(client, "upload_adapter", "uplink", client.cut * ADAPTER_BYTES_PER_BLOCK)
        self.close_round(number, start_s)

    def step_until_server(self, client: Client) -> float:
        client.step += 1
        self.spend(client, "client_forward", "client", client.cut * client.block_s)
        self.send(client, "upload_activations", "uplink", ACTIVATION_BYTES)
        self.send(client, "upload_labels", "uplink", LABEL_BYTES)
        return client.now_s

    def step_after_server(self, client: Client) -> None:
        self.send(client, "download_gradients", "downlink", ACTIVATION_BYTES)
        self.spend(client, "client_backward", "client", 2 * client.cut * client.block_s)
        self.spend(client, "client_optimizer", "client", 0.1 * client.cut * client.block_s)

    def close_round(self, number: int, start_s: float) -> None:
        last = max(self.clients, key=lambda client: (client.now_s, -client.number))
        aggregate = ("aggregate", "server", SERVER_CLIENT, number, OUTSIDE_STEPS, last.now_s, last.now_s + AGGREGATE_S)
        self.cause_id = self.writer.spans.add(*aggregate, 0, last.cause_id)
        self.now_s = last.now_s + AGGREGATE_S
        for client in self.clients:
            device, network, *_ = client.kind
            row = ClientRow(
                round=number, client=client.number, device=device, network=network, cut=client.cut,
                priced_cut=client.cut, max_cut=NUM_BLOCKS - 1, cut_reason="policy", moved_bytes=0,
                num_steps=self.num_steps, num_tokens=512 * self.num_steps, train_loss=4.0, val_loss=None,
                start_s=start_s, end_s=client.now_s, status="finished",
            )  # fmt: skip
            self.writer.add_client(row)
            self.spend(client, "round_wait", "idle", self.now_s - client.now_s)
        up, down = (sum(client.sent[way] for client in self.clients) for way in ("uplink", "downlink"))
        self.writer.end_round(RoundRow(number, start_s, self.now_s, len(self.clients), up, down, None))
        self.move_cuts()

    def move_cuts(self) -> None:
        """Fast clients take a block more up to 5, the slowest go down to 1: cuts that move and then settle."""
        for client in self.clients:
            wanted = 1 if client.block_s > 0.2 else 5 if client.block_s < 0.03 else 3
            client.cut += (wanted > client.cut) - (wanted < client.cut)

    def spend(self, client: Client, kind: str, actor: str, seconds: float, size: int = 0) -> None:
        end_s = client.now_s + seconds
        where = (client.number, client.round, client.step, client.now_s, end_s)
        client.now_s, client.cause_id = end_s, self.writer.spans.add(kind, actor, *where, size, client.cause_id)

    def send(self, client: Client, kind: str, way: str, size: int) -> None:
        rate = client.kind[3] if way == "uplink" else client.kind[4]
        client.sent[way] += size
        self.spend(client, kind, way, 0.01 + size / rate, size)


def synthetic_run(
    folder: Path | None = None,
    *,
    num_clients: int = 5,
    num_rounds: int = 8,
    num_steps: int = 4,
    with_evals: bool = True,
    targets: tuple[float, ...] = (40.0, 30.0, 10.0),
) -> RunRecords:
    """Return a finished run; its perplexity falls from 60 towards 27, whatever the clients do."""
    scenario = {"name": "synthetic", "evaluation": {"targets": {"perplexity": list(targets)}}}
    writer = RunWriter(folder, {"scenario": scenario})
    recorder = Recorder(writer, num_clients, num_steps)
    for number in range(num_rounds + 1):
        if number:
            recorder.play_round(number)
        if with_evals:
            perplexity = 27 + 33 * math.exp(-number / 2.5)
            loss = math.log(perplexity)
            writer.add_eval(EvalRow(number, recorder.now_s, "global", SERVER_CLIENT, loss, perplexity, 0.3, 32_000))
    return writer.finish()
