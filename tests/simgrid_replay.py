"""Replays a scenario of the `simgrid_truth/1` schema on the simulator's own links, slots and clock.

SimGrid is an independent simulator. What its program did with links, hosts, pools and barriers is done here with
`Network`, `Server` and a SimPy environment; the truth file says under `semantics` what each operation means.
"""

from collections import deque
from collections.abc import Callable, Generator
from typing import Any

import simpy

from simulator.clock.server import Server, Turn
from simulator.network.fluid import Link, Network

Scenario = dict[str, Any]
Wait = Generator[simpy.Event, object, None]


def replay(scenario: Scenario) -> dict[str, list[float]]:
    """Return the simulated time in seconds at which each operation of each actor ended.

    Messages of a scenario tagged `rtt_weighted` share links in proportion to 1/latency, as SimGrid lets them. A
    scenario tagged `simgrid_quirk` is replayed without the quirk: SimGrid's times of it are no target. One difference
    is meant: a message of zero bytes is not sent, so it does not pay its latency.

    Raises:
        ValueError: The scenario has something that is not in the schema, or an actor that never comes to its end.
    """
    env = simpy.Environment()
    platform = _Platform(env, scenario)
    ends: dict[str, list[float]] = {actor["id"]: [] for actor in scenario["actors"]}
    actors = [env.process(platform.act(actor, ends[actor["id"]])) for actor in scenario["actors"]]
    try:
        env.run(env.all_of(actors))
    except RuntimeError as error:
        stuck = [spec["id"] for spec, actor in zip(scenario["actors"], actors, strict=True) if actor.is_alive]
        if not stuck:
            raise
        raise ValueError(f"scenario {scenario.get('id')!r} never ends: {', '.join(stuck)} wait forever") from error
    return ends


class _Pool:
    """Slots that anybody may give back, as a semaphore's."""

    def __init__(self, env: simpy.Environment, slots: int) -> None:
        self._server = Server(env, slots)
        self._held: deque[Turn] = deque()

    def acquire(self) -> Wait:
        turn = self._server.request()
        yield turn
        self._held.append(turn)

    def release(self) -> Wait:
        if not self._held:
            raise ValueError("a pool is released more often than it is acquired")
        self._held.popleft().release()
        yield from ()


class _Barrier:
    def __init__(self, env: simpy.Environment, num_actors: int) -> None:
        self._env = env
        self._num_actors = num_actors
        self._num_here = 0
        self._opens = env.event()

    def wait(self) -> Wait:
        self._num_here += 1
        opens = self._opens
        if self._num_here == self._num_actors:
            self._num_here, self._opens = 0, self._env.event()  # ready for the next round
            opens.succeed()
        yield opens


class _Platform:
    """The hosts, links, pools and barriers of a scenario, and what an actor can do with them."""

    def __init__(self, env: simpy.Environment, scenario: Scenario) -> None:
        self._env = env
        self._network = Network(env)
        self._weighted = "rtt_weighted" in scenario.get("tags", ())
        self._speeds = {host["id"]: host["speed_flop_s"] for host in scenario["hosts"]}
        self._hosts = {host["id"]: Server(env, host["cores"], "processor-sharing") for host in scenario["hosts"]}
        links = {link["id"]: Link(link["bandwidth_B_s"], link.get("profile", ())) for link in scenario["links"]}
        latencies = {link["id"]: link["latency_s"] for link in scenario["links"]}
        self._routes = {
            (route["src"], route["dst"]): (
                tuple(links[link] for link in route["links"]),
                sum(latencies[link] for link in route["links"]),
            )
            for route in scenario["routes"]
        }
        for pool in scenario["pools"]:
            if pool.get("discipline", "fifo") != "fifo":
                raise ValueError(f"pool {pool['id']!r}: the schema knows fifo only, not {pool['discipline']!r}")
        self._pools = {pool["id"]: _Pool(env, pool["slots"]) for pool in scenario["pools"]}
        self._barriers = {barrier["id"]: _Barrier(env, barrier["n"]) for barrier in scenario["barriers"]}

    def act(self, actor: dict[str, Any], ends: list[float]) -> Wait:
        """Run an actor's operations in order and note when each ended."""
        operations: dict[str, Callable[..., Wait]] = {
            "send": self._send,
            "compute": self._compute,
            "acquire": self._acquire,
            "release": self._release,
            "sleep": self._sleep,
            "barrier": self._barrier,
        }
        yield self._env.timeout(actor["start_s"])
        for kind, *arguments in actor["ops"]:
            if kind not in operations:
                raise ValueError(f"unknown operation {kind!r}; the schema has {', '.join(operations)}")
            yield from operations[kind](*arguments)
            ends.append(self._env.now)

    def _send(self, source: str, target: str, num_bytes: int, cancel_at_s: float | None = None) -> Wait:
        route, latency_s = self._route(source, target)
        weight = 1.0 / latency_s if self._weighted and latency_s else 1.0
        transfer = self._network.send(route, num_bytes, latency_s, weight)
        if cancel_at_s is None:
            yield transfer
        else:
            yield transfer | self._env.timeout(max(0.0, cancel_at_s - self._env.now))
            transfer.cancel()

    def _route(self, source: str, target: str) -> tuple[tuple[Link, ...], float]:
        if (source, target) in self._routes:
            return self._routes[source, target]
        if source == target:
            return (), 0.0
        raise ValueError(f"there is no route from {source!r} to {target!r}")

    def _compute(self, host: str, num_flops: float) -> Wait:
        yield self._hosts[host].serve(num_flops / self._speeds[host])

    def _acquire(self, pool: str) -> Wait:
        yield from self._pools[pool].acquire()

    def _release(self, pool: str) -> Wait:
        yield from self._pools[pool].release()

    def _sleep(self, seconds: float) -> Wait:
        yield self._env.timeout(seconds)

    def _barrier(self, barrier: str) -> Wait:
        yield from self._barriers[barrier].wait()
