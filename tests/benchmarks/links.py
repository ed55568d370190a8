"""How many operations a second the shared links and the server do, against plain SimPy timeouts.

An operation is one compute or one send. Every client repeats a step of split learning: forward, upload, server step,
download, backward: five operations, of which two cross shared links and one waits for a slot. The yardstick is as many
processes that do as many plain `env.timeout`s, timed in the same run, alternating. Run from the repository root:

    python -m tests.benchmarks.links [--profile]
"""

import argparse
import cProfile
import pstats
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from statistics import median

import simpy

from simulator.clock.server import Server
from simulator.network.fluid import Link, Network

OPERATIONS_PER_STEP = 5
TARGET_RATIO = 1 / 6
STEPS = {64: 200, 1_000: 20, 10_000: 3}
REPEATS = 5

Wait = Generator[simpy.Event, object, None]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the clients ask of links and server.

    Attributes:
        label: name in the table.
        num_uplinks: number of different client uplinks; as many classes for the solver.
        hub_bytes_per_s: capacity of the server's link for each client.
        latency_s: of every message.
    """

    label: str
    num_uplinks: int
    hub_bytes_per_s: float
    latency_s: float = 0.0


# Clients upload and download 1 MB each in a step, at 0.1 to 10 MB/s, and compute for about 3.5 s.
LOADS = (
    Load(label="every client different, links full", num_uplinks=10**9, hub_bytes_per_s=2e5),
    Load(label="every client different, links half full", num_uplinks=10**9, hub_bytes_per_s=5e5),
    Load(label="every client different, no contention", num_uplinks=10**9, hub_bytes_per_s=2e7),
    Load(label="three kinds of clients, links full", num_uplinks=3, hub_bytes_per_s=2e5),
    Load(label="with latency, links half full", num_uplinks=10**9, hub_bytes_per_s=5e5, latency_s=0.02),
)


def star(num_clients: int, num_steps: int, load: Load) -> simpy.Environment:
    """Return an environment in which every client takes its steps."""
    env = simpy.Environment()
    network = Network(env)
    server = Server(env, slots=max(1, num_clients // 16))
    rng = random.Random(0)
    hub_up, hub_down = Link(load.hub_bytes_per_s * num_clients), Link(load.hub_bytes_per_s * num_clients)
    rates = [rng.uniform(1e5, 1e7) for _ in range(min(num_clients, load.num_uplinks))]

    def client(up: Link, down: Link, forward_s: float, backward_s: float) -> Wait:
        for _ in range(num_steps):
            yield env.timeout(forward_s)
            yield network.send((up, hub_up), 1_000_000, load.latency_s)
            yield server.serve(0.1)
            yield network.send((hub_down, down), 1_000_000, load.latency_s)
            yield env.timeout(backward_s)

    for number in range(num_clients):
        rate = rates[number % len(rates)]
        env.process(client(Link(rate), Link(2 * rate), rng.uniform(0.5, 3), rng.uniform(0.5, 3)))
    return env


def plain(num_clients: int, num_steps: int) -> simpy.Environment:
    """Return an environment in which every client only waits, as often."""
    env = simpy.Environment()
    rng = random.Random(0)

    def client() -> Wait:
        for _ in range(num_steps * OPERATIONS_PER_STEP):
            yield env.timeout(rng.random())

    for _ in range(num_clients):
        env.process(client())
    return env


def measure(build: Callable[[], simpy.Environment], num_operations: int) -> float:
    """Return operations per second of processor time."""
    env = build()
    start_s = time.process_time()
    env.run()
    return num_operations / (time.process_time() - start_s)


def compare(num_clients: int, num_steps: int, load: Load) -> tuple[float, float, float]:
    """Return the median rates of links and of plain timeouts, and the median ratio of the pairs."""
    num_operations = num_clients * num_steps * OPERATIONS_PER_STEP
    pairs = [
        (
            measure(lambda: star(num_clients, num_steps, load), num_operations),
            measure(lambda: plain(num_clients, num_steps), num_operations),
        )
        for _ in range(REPEATS)
    ]
    return median(a for a, _ in pairs), median(b for _, b in pairs), median(a / b for a, b in pairs)


def main() -> None:
    """Print the table, or where the time of the hardest case goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true", help="profile one case instead")
    if parser.parse_args().profile:
        env = star(1_000, 40, LOADS[0])
        with cProfile.Profile() as profile:
            env.run()
        pstats.Stats(profile).sort_stats("tottime").print_stats(20)
        return
    print(f"{'load':45}{'clients':>9}{'operations/s':>14}{'plain/s':>12}{'ratio':>8}   (target {TARGET_RATIO:.3f})")
    for load in LOADS:
        for num_clients, num_steps in STEPS.items():
            ours, theirs, ratio = compare(num_clients, num_steps, load)
            print(f"{load.label:45}{num_clients:9,}{ours:14,.0f}{theirs:12,.0f}{ratio:8.3f}", flush=True)


if __name__ == "__main__":
    main()
