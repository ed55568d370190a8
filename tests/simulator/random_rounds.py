"""Random rounds of SplitFed V1 on every kind of connection, and what they are in the schema of `brute_force.py`.

The transcription knows nothing of `simulator.network.links`: it writes down what the documentation says of each option.
"""

import math
import random
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from simulator.clock.world import World
from simulator.network.bandwidth_file import BandwidthRecord, BandwidthTrace
from simulator.network.connections import CONSTANT, Cells, Connections, ServerLinks, Variation
from simulator.protocols.rounds import ClientPlan, PaddedBatch
from simulator.protocols.sfl_v1 import run_round
from simulator.records.recorder import RunWriter

KINDS = (
    "star", "latency", "half-duplex", "half-duplex-server", "cells", "roomy-cells", "half-duplex-cells", "trace",
    "periodic-trace", "outages", "variation", "slots", "sharing", "leaving", "mixed",
)  # fmt: skip
BATCH = PaddedBatch(num_samples=1, length_tokens=8, num_real_tokens=8)
PERIOD_S = 7.0
HORIZON_S = 1000.0  # profiles are transcribed up to here; every case is over by then


class Rates:
    """What the world asks of a fleet."""

    def __init__(self, uplink, downlink, latency_s):
        self.uplink_bytes_per_s, self.downlink_bytes_per_s = np.array(uplink), np.array(downlink)
        self.latency_s = np.array(latency_s)
        self.network_index = np.zeros(len(uplink), dtype=np.uint8)

    def __len__(self):
        return len(self.uplink_bytes_per_s)


@dataclass
class Work:
    """Seconds and bytes of one client: adapter down, (forward, up, server, down, backward) a step, adapter up."""

    adapter_down: int
    forward_s: float
    up: int
    server_s: float
    down: int
    backward_s: float
    adapter_up: int


@dataclass
class Case:
    rates: Rates
    server: ServerLinks
    works: list[Work]
    connections: Connections = CONSTANT
    slots: int = 1
    discipline: str = "fifo"
    outages_s: tuple[tuple[float, float], ...] = ()
    num_rounds: int = 2
    num_steps: int = 2
    leaves_s: list[float] = field(default_factory=list)


class HandedCosts:
    """A protocol's costs from `Work`; nothing else costs anything."""

    def __init__(self, works):
        self.works = works

    def step(self, client, cut, num_samples, length_tokens):
        work = self.works[client]
        return SimpleNamespace(
            client_forward_s=work.forward_s, activation_bytes=work.up, label_bytes=0, server_step_s=work.server_s,
            gradient_bytes=work.down, client_backward_s=work.backward_s, client_optimizer_s=0.0,
        )  # fmt: skip

    def round(self, client, cut, stacked):
        work = self.works[client]
        return SimpleNamespace(
            adapter_download_bytes=work.adapter_down, adapter_upload_bytes=work.adapter_up, client_merge_s=0.0
        )

    def aggregate_s(self, handed_in):
        return 0.0


def play(case, *, fast_forward=True):
    """Run all rounds of a case and return (logs, spans)."""
    writer = RunWriter(None, {})
    world = World(
        fleet=case.rates, server_links=case.server, slots=case.slots, costs=HandedCosts(case.works), spans=writer.spans,
        outages_s=case.outages_s, connections=case.connections, discipline=case.discipline,
        fast_forward=fast_forward,
    )  # fmt: skip
    logs = []
    for number in range(1, case.num_rounds + 1):
        plans = [
            ClientPlan(
                client=client, cut=1, steps=(BATCH,) * case.num_steps,
                leaves_s=case.leaves_s[client] if case.leaves_s else math.inf,
            )
            for client in range(len(case.works))
        ]  # fmt: skip
        logs.append(run_round(world, number, plans))
        writer.spans.flush_round(number)
    return logs, writer.records().spans


def span_ends(case, spans, *, with_barriers):
    """Return when each operation of each client ended, in the order of `transcribe`."""
    ends = {}
    for client in range(len(case.works)):
        ends[f"a{client}"] = found = []
        for _, own in spans[spans.client == client].groupby("round"):
            for kind, start_s, end_s in zip(own.kind, own.start_s, own.end_s, strict=True):
                if kind in ("client_optimizer", "server_wait", "round_wait", "offline"):
                    continue  # takes no time; or ends where the server's step begins; or the barrier, as below
                served = kind == "server_step" and case.discipline == "fifo"
                found.extend([start_s, end_s, end_s] if served else [end_s])
            if with_barriers:
                found.append(own.end_s.iloc[-1])
    return ends


# ---- random cases


def random_case(kind, seed, num_clients=5):
    """Return a case of a kind; its numbers are a function of kind and seed."""
    rng = random.Random(f"{kind} {seed}")
    few = [rng.uniform(1e6, 1e7) for _ in range(3)]  # clients of one class
    up, down = [rng.choice(few) for _ in range(num_clients)], [rng.choice(few) for _ in range(num_clients)]
    hub = rng.uniform(0.2, 1.2) * num_clients * 4e6
    latency_s = rng.uniform(0.001, 0.3) if kind in ("latency", "mixed") else 0.0
    return Case(
        rates=Rates(up, down, [latency_s * rng.random() for _ in up]),
        server=ServerLinks(
            uplink_bytes_per_s=hub,
            downlink_bytes_per_s=hub if rng.random() < 0.5 else rng.uniform(0.5, 2) * hub,
            latency_s=latency_s,
        ),
        works=[_work(rng) for _ in up],
        connections=Connections(
            half_duplex_clients=kind == "half-duplex" or (kind == "mixed" and rng.random() < 0.5),
            half_duplex_server=kind == "half-duplex-server" or (kind == "mixed" and rng.random() < 0.5),
            cells=_cells(kind, rng, num_clients, hub),
            trace=_trace(kind, rng, num_clients),
            variation=_variation(kind, seed, rng),
        ),
        slots=rng.randint(1, 3) if kind in ("slots", "sharing", "mixed") else 1,
        discipline="processor-sharing" if kind == "sharing" else "fifo",
        outages_s=((rng.uniform(1, 2), rng.uniform(2, 3)), (4.0, rng.uniform(4.5, 6)))
        if kind in ("outages", "mixed")
        else (),
        num_rounds=1 if kind == "leaving" else 2,
        leaves_s=[rng.choice((rng.uniform(0.5, 10), math.inf)) for _ in up] if kind == "leaving" else [],
    )


def _work(rng):
    # No two sizes are equal: messages that end at one moment would reach the server's queue in an order of their own.
    size = lambda: rng.choice((0, rng.randint(10_000, 5_000_000), rng.randint(10_000, 5_000_000)))  # noqa: E731
    return Work(size(), rng.uniform(0, 1), size(), rng.uniform(0.01, 0.5), size(), rng.uniform(0, 1), size())


def _cells(kind, rng, num_clients, hub):
    if kind not in ("cells", "roomy-cells", "half-duplex-cells", "mixed"):
        return ()
    # Roomy: together narrower than the server's link, which then has no part in any rate.
    widest = hub / 4 if kind == "roomy-cells" else 1.5e7
    half = kind == "half-duplex-cells" or (kind == "mixed" and rng.random() < 0.5)
    up = rng.uniform(0.3, 1) * widest
    down = up if rng.random() < 0.5 else rng.uniform(0.3, 1) * widest
    first = Cells(
        first_client=0, num_clients=2, num_cells=1, uplink_bytes_per_s=up, downlink_bytes_per_s=down, half_duplex=half
    )
    if kind == "mixed":
        return (first,)  # the others are in no cell
    last = Cells(
        first_client=2, num_clients=num_clients, num_cells=1, uplink_bytes_per_s=rng.uniform(0.3, 1) * widest,
        downlink_bytes_per_s=rng.uniform(0.3, 1) * widest, half_duplex=half,
    )  # fmt: skip
    return (first, last)


def _trace(kind, rng, num_clients):
    if kind not in ("trace", "periodic-trace", "mixed"):
        return None
    records = {}
    for whose in (*range(0, num_clients, 2), "server"):
        times_s = sorted(rng.uniform(0, PERIOD_S) for _ in range(rng.randint(1, 4)))
        rates = [[rng.choice((0.0, rng.uniform(5e5, 1e7))) for _ in times_s] for _ in range(2)]
        for way in rates:
            way[-1] = rng.uniform(1e6, 1e7)
        records[whose] = BandwidthRecord(
            times_s=tuple(times_s), downlink_bytes_per_s=tuple(rates[0]), uplink_bytes_per_s=tuple(rates[1])
        )
    return BandwidthTrace(records=records, period_s=PERIOD_S if kind == "periodic-trace" else math.inf, digest="")


def _variation(kind, seed, rng):
    if kind != "variation":
        return None
    return Variation(
        seed=seed, between_sigma=0.0, within_sigma=(0.6,), correlation=(0.4,), interval_s=rng.choice((0.3, 0.7))
    )


# ---- what a case is in the schema


def transcribe(case):
    """Return the scenario that `brute_force.py` plays."""
    links, routes = [], []

    def link(name, capacity, profile=(), latency_s=0.0):
        links.append({"id": name, "bandwidth_B_s": capacity, "latency_s": latency_s, "profile": list(profile)})
        return name

    def both(name, up, down, profiles, *, half, latency_s=0.0):
        """Add the links of both directions; half duplex is a third link in both, as wide as the wider of them."""
        latency = {"latency_s": latency_s}
        ways = [link(f"{name}_up", up, profiles[0], **latency)], [link(f"{name}_down", down, profiles[1], **latency)]
        if half:
            shared = link(f"{name}_air", max(up, down), profiles[0] if up > down else profiles[1])
            return [*ways[0], shared], [*ways[1], shared]
        return ways

    options = case.connections
    server_up, server_down = both(
        "srv", case.server.uplink_bytes_per_s, case.server.downlink_bytes_per_s, _server_profiles(case),
        half=options.half_duplex_server, latency_s=case.server.latency_s,
    )  # fmt: skip
    cells = {
        number: both(
            f"cell{number}", cell.uplink_bytes_per_s, cell.downlink_bytes_per_s, ((), ()), half=cell.half_duplex
        )
        for number, cell in enumerate(options.cells)
    }
    for client in range(len(case.rates)):
        up, down = (float(way[client]) for way in (case.rates.uplink_bytes_per_s, case.rates.downlink_bytes_per_s))
        own_up, own_down = both(
            f"c{client}", up, down, _client_profiles(case, client, up, down), half=options.half_duplex_clients,
            latency_s=float(case.rates.latency_s[client]),
        )  # fmt: skip
        inside = [
            n
            for n, cell in enumerate(options.cells)
            if 0 <= client - cell.first_client < cell.num_clients * cell.num_cells
        ]
        cell_up, cell_down = cells[inside[0]] if inside else ([], [])
        routes.append({"src": f"c{client}", "dst": "srv", "links": [*own_up, *cell_up, *server_up]})
        routes.append({"src": "srv", "dst": f"c{client}", "links": [*server_down, *cell_down, *own_down]})
    names = range(len(case.works))
    return {
        "id": "case",
        "tags": [],
        "hosts": [
            *({"id": f"c{k}", "speed_flop_s": 1.0, "cores": 1} for k in names),
            {"id": "srv", "speed_flop_s": 1.0, "cores": case.slots},
        ],
        "links": links,
        "routes": routes,
        "pools": [{"id": "gpu", "slots": case.slots}],
        "barriers": [{"id": "round", "n": len(names)}],
        "actors": [
            {
                "id": f"a{k}",
                "start_s": 0.0,
                "ops": _operations(case, k),
                **({"leaves_s": case.leaves_s[k]} if case.leaves_s else {}),
            }
            for k in names
        ],
    }


def _operations(case, client):
    work, name, operations = case.works[client], f"c{client}", []

    def send(source, target, num_bytes):
        if num_bytes:
            operations.append(["send", source, target, num_bytes])

    for _ in range(case.num_rounds):
        send("srv", name, work.adapter_down)
        for _ in range(case.num_steps):
            operations.append(["compute", name, work.forward_s])
            send(name, "srv", work.up)
            served = ["compute", "srv", work.server_s]
            shares = case.discipline == "processor-sharing"
            operations.extend([served] if shares else [["acquire", "gpu"], served, ["release", "gpu"]])
            send("srv", name, work.down)
            operations.append(["compute", name, work.backward_s])
        send(name, "srv", work.adapter_up)
        if not case.leaves_s:
            operations.append(["barrier", "round"])
    return operations


def _client_profiles(case, client, up, down):
    """Return the profiles of a client's uplink and downlink."""
    if case.connections.trace and client in case.connections.trace.records:
        return _recorded(case.connections.trace, client)
    if case.connections.variation:
        factors = case.connections.variation.within(client, 0)
        interval_s = case.connections.variation.interval_s
        numbers = range(int(HORIZON_S / 10 / interval_s))
        return [
            [(n * interval_s, float(round(nominal * factors.at(n)[way]))) for n in numbers]
            for way, nominal in ((1, up), (0, down))
        ]
    return (), ()


def _recorded(trace, whose):
    """Return the points of uplink and downlink of a record, over and over again where it has a period."""
    record = trace.records[whose]
    profiles = []
    for rates in (record.uplink_bytes_per_s, record.downlink_bytes_per_s):
        points = list(zip(record.times_s, rates, strict=True))
        if trace.period_s < math.inf:
            laps = range(int(HORIZON_S / trace.period_s))
            points = [
                (0.0, rates[-1]),  # what a lap begins with is what the one before it ended with
                *((lap * trace.period_s + time_s, rate) for lap in laps for time_s, rate in points),
            ]
        profiles.append(points)
    return profiles


def _server_profiles(case):
    """Return the profiles of the server's uplink and downlink as clients see them, with outages cut out."""
    trace = case.connections.trace
    # What clients send is the downlink of the server's own connection.
    for_down, for_up = _recorded(trace, "server") if trace else ((), ())
    nominal = case.server.uplink_bytes_per_s, case.server.downlink_bytes_per_s
    return [
        _interrupted(points, rate, case.outages_s) for points, rate in zip((for_up, for_down), nominal, strict=True)
    ]


def _interrupted(points, nominal, outages_s):
    def rate(time_s):
        if any(start_s <= time_s < end_s for start_s, end_s in outages_s):
            return 0.0
        return [nominal, *(value for point_s, value in points if point_s <= time_s)][-1]

    times_s = {point_s for point_s, _ in points} | {edge for outage in outages_s for edge in outage}
    return [(time_s, rate(time_s)) for time_s in sorted(times_s)]
