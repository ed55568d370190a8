"""How many operations a second the full `sfl-v1` protocol does with every span written down, against plain timeouts.

An operation is one compute or one send: a step has seven of them (forward, activations, labels, server step, gradients,
backward, optimizer) and a round two more (the adapter, down and up). Counted is everything that a round costs the
simulator: plans, costs, the clock, spans and their table. Phones of the catalogue with lengths from a distribution take
part, so that every client has links and batches of its own. The yardstick is as many processes that do as many plain
`env.timeout`s, timed in the same run, alternating. Where nobody meets anybody the same rounds are timed twice: on
events, and without them (`simulator/clock/fast_forward.py`). At the end stands where the time of one case goes. Run
from the repository root:

    python -m tests.benchmarks.protocol
"""

import cProfile
import pstats
import random
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import simpy

from simulator.clock.collector import paused
from simulator.clock.world import ServerLinks, World
from simulator.protocols.rounds import ClientPlan
from simulator.protocols.sfl_v1 import run_round
from simulator.records.recorder import RunWriter
from simulator.scenario import Scenario
from simulator.setting import Setting, resolve

TARGET_RATIO = 1 / 15
STEPS = {64: 100, 1_000: 10, 10_000: 2}
OPERATIONS_PER_STEP, OPERATIONS_PER_ROUND = 7, 2
REPEATS = 5

PARTS = {
    "shared links: messages, fair shares, their ends": {"fluid", "share", "bands", "clock", "maxmin"},
    "the server's slots and queue": {"server"},
    "what participants do, and its record": {"world", "span_log"},
    "rounds without events": {"fast_forward", "walker"},
    "the protocol and its barrier": {"sfl_v1", "barrier", "rounds"},
    "costs": {"cost", "seconds", "counts", "blocks", "ranks", "shapes", "pricing", "exchange", "codec_bytes"},
    "batches of every client": {"drawn_lengths", "client_data", "draws", "batches", "lengths"},
    "the table of spans and its digest": {"parquet_files", "schemas", "recorder"},
}


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much the clients have of the server.

    Attributes:
        link_bytes_per_s: of its link, each way, for each client (a phone of the fleet has 8 MB/s up and
            17 MB/s down, on average).
        clients_per_slot: so many clients share a slot.
        fast_forward: whether rounds may do without events.
    """

    link_bytes_per_s: float
    clients_per_slot: int
    fast_forward: bool = False


LOADS = {
    "idle server": Load(link_bytes_per_s=1e6, clients_per_slot=16),
    "busy server": Load(link_bytes_per_s=1e5, clients_per_slot=64),
    "room for everybody": Load(link_bytes_per_s=1e9, clients_per_slot=1),
    "the same without events": Load(link_bytes_per_s=1e9, clients_per_slot=1, fast_forward=True),
}


def setting_of(num_clients: int, num_steps: int) -> Setting:
    """Return a scenario of one round."""
    return resolve(
        Scenario.from_mapping(
            {
                "rounds": 1,
                "workload": {
                    "dataset": "lengths",
                    "local_steps": num_steps,
                    "optimizer": {"state": "reset"},
                },
                "fleet": {"mixture": "phones-2024", "count": num_clients},
                "policy": {"kind": "fixed"},
                "availability": {"kind": "always-on"},
                "execution": {"trainer": "cost-only"},
            }
        )
    )


def protocol(setting: Setting, load: Load) -> Callable[[], object]:
    """Return a round of the protocol, yet to be run."""
    num_clients = len(setting.fleet)
    bytes_per_s = load.link_bytes_per_s * num_clients

    def run() -> object:
        writer = RunWriter(None, {})
        world = World(
            fleet=setting.fleet,
            server_links=ServerLinks(uplink_bytes_per_s=bytes_per_s, downlink_bytes_per_s=bytes_per_s, latency_s=0.0),
            slots=max(1, num_clients // load.clients_per_slot),
            costs=setting.costs,
            spans=writer.spans,
            fast_forward=load.fast_forward,
        )
        with paused():  # as in a run
            plans = [
                ClientPlan(client=client, cut=2, steps=setting.data.padded_steps(client, 1))
                for client in range(num_clients)
            ]
            run_round(world, 1, plans)
            writer.spans.flush_round(1)
        assert world.num_forwarded == load.fast_forward
        return writer

    return run


def plain(num_clients: int, num_operations: int) -> Callable[[], object]:
    """Return as many clients that only wait, as often, yet to be run."""
    env = simpy.Environment()
    rng = random.Random(0)

    def client() -> Generator[simpy.Event, object, None]:
        for _ in range(num_operations):
            yield env.timeout(rng.random())

    for _ in range(num_clients):
        env.process(client())
    return env.run


def measure(run: Callable[[], object], num_operations: int) -> float:
    """Return operations per second of processor time."""
    start_s = time.process_time()
    run()
    return num_operations / (time.process_time() - start_s)


def compare(num_clients: int, num_steps: int, load: Load) -> tuple[float, float, float]:
    """Return the median rates of the protocol and of plain timeouts, and the median ratio of the pairs."""
    per_client = OPERATIONS_PER_STEP * num_steps + OPERATIONS_PER_ROUND
    setting = setting_of(num_clients, num_steps)
    pairs = [
        (
            measure(protocol(setting, load), num_clients * per_client),
            measure(plain(num_clients, per_client), num_clients * per_client),
        )
        for _ in range(REPEATS)
    ]
    return median(a for a, _ in pairs), median(b for _, b in pairs), median(a / b for a, b in pairs)


def profile(run: Callable[[], object]) -> None:
    """Print which parts of the simulator the time goes to; small functions look slower than they are."""
    profiler = cProfile.Profile(time.process_time)
    profiler.runcall(run)
    seconds: Counter[str] = Counter()
    for (file, _, _), (_, _, own_s, _, callers) in pstats.Stats(profiler).stats.items():
        if file == "~":  # built-in functions count for who calls them
            for (caller, _, _), (_, _, called_s, _) in callers.items():
                seconds[part_of(caller)] += called_s
        else:
            seconds[part_of(file)] += own_s
    total_s = seconds.total()
    for part, part_s in seconds.most_common():
        print(f"{part_s / total_s:7.1%}  {part}")


def part_of(file: str) -> str:
    """Return which part of the simulator a source file belongs to."""
    if "simpy" in file:
        return "SimPy: the queue of events, resuming processes"
    return next((part for part, names in PARTS.items() if Path(file).stem in names), "everything else")


def main() -> None:
    """Print the table, and where the time of the middle cases goes."""
    print(f"{'load':25}{'clients':>9}{'operations/s':>14}{'plain/s':>12}{'ratio':>8}   (target {TARGET_RATIO:.3f})")
    for label, load in LOADS.items():
        for num_clients, num_steps in STEPS.items():
            ours, theirs, ratio = compare(num_clients, num_steps, load)
            print(f"{label:25}{num_clients:9,}{ours:14,.0f}{theirs:12,.0f}{ratio:8.3f}", flush=True)
    for label in ("busy server", "the same without events"):
        print(f"\nWhere the time goes with 1,000 clients, {label}:")
        profile(protocol(setting_of(1_000, STEPS[1_000]), LOADS[label]))


if __name__ == "__main__":
    main()
