"""A slow, plain simulator of the `simgrid_truth/1` schema, to check the fast one against.

Independent of the product: no SimPy, no heaps, no virtual time. At every event all rates are computed anew from the
definition of max-min fairness, and everything under way is advanced to the next event. O(n^2) and worse.

Beyond the schema an actor may have `leaves_s`: it gives up then. What it sends is cut off, and `ends` has that moment;
a computation on the host `srv` goes on without it, and so does its hold on a pool until then.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NEVER = math.inf
SETTLED = 1e-10  # of its amount: less than that left is rounding


def fair_rates(routes: list[list[str]], weights: list[float], capacities: dict[str, float]) -> list[float]:
    """Raise all rates together in proportion to their weights; whoever meets a full link stays where it is."""
    names = list(dict.fromkeys(link for route in routes for link in route))
    crossings = np.array([[route.count(link) for route in routes] for link in names]).reshape(len(names), len(routes))
    capacity, weight = np.array([capacities[link] for link in names]), np.array(weights)
    rates, rising = np.zeros(len(routes)), np.array([bool(route) for route in routes], dtype=bool)
    while rising.any():
        slopes = crossings @ (weight * rising)
        room = np.maximum(0.0, capacity - crossings @ rates)
        steps = np.divide(room, slopes, out=np.full(len(names), NEVER), where=slopes > 0)
        step = steps.min()
        rates += step * weight * rising
        rising &= ~crossings[steps <= step * (1 + 1e-12)].any(axis=0)
    return rates.tolist()


@dataclass
class _Actor:
    ops: list[list[Any]]
    start_s: float
    ends: list[float] = field(default_factory=list)
    delivered: list[float] = field(default_factory=list)
    busy: str = ""  # what it is in: "", "until", "flow", "compute", "queue", "barrier"
    until_s: float = 0.0
    cancel_s: float = NEVER
    leaves_s: float = NEVER
    left: float = 0.0
    gone: bool = False

    @property
    def op(self) -> list[Any]:
        return self.ops[len(self.ends)]

    @property
    def done(self) -> bool:
        return len(self.ends) >= len(self.ops)


class BruteForce:
    """Plays a scenario; `ends` and `delivered` (bytes of each send, 0 for other operations) by actor."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        self.now_s = 0.0
        self.actors = {
            a["id"]: _Actor(a["ops"], a["start_s"], leaves_s=a.get("leaves_s", NEVER)) for a in scenario["actors"]
        }
        self.hosts = {h["id"]: h for h in scenario["hosts"]}
        self.links = {link["id"]: link for link in scenario["links"]}
        self.routes = {(r["src"], r["dst"]): r["links"] for r in scenario["routes"]}
        self.weighted = "rtt_weighted" in scenario["tags"]
        self.free = {p["id"]: p["slots"] for p in scenario["pools"]}
        self.queues: dict[str, list[_Actor]] = {p["id"]: [] for p in scenario["pools"]}
        self.missing = {b["id"]: b["n"] for b in scenario["barriers"]}
        self.sizes = dict(self.missing)
        for actor in self.actors.values():
            actor.busy, actor.until_s = "start", actor.start_s
        self._begin_what_can_begin()
        while not all(actor.done for actor in self.actors.values()):
            self._advance()
            self._begin_what_can_begin()
        self.ends = {name: actor.ends for name, actor in self.actors.items()}
        self.delivered = {name: actor.delivered for name, actor in self.actors.items()}

    def _capacities(self) -> dict[str, float]:
        return {
            name: ([link["bandwidth_B_s"]] + [b for t, b in link.get("profile", ()) if t <= self.now_s])[-1]
            for name, link in self.links.items()
        }

    def _leave(self, actor: _Actor) -> None:
        """Let an actor give up what it is doing, and everything after it."""
        kind, *args = actor.op
        actor.gone = True
        served = kind == "compute" and args[0] == "srv"
        if not served:
            if kind == "acquire":
                self.queues[args[0]].remove(actor)
            self._end(actor, actor.op[3] - actor.left if kind == "send" else 0.0)
        # What it would have done next it does not; a slot that it holds is given back when the server is done.
        following = actor.ops[len(actor.ends) + 1 : len(actor.ends) + 2] if served else []
        actor.ops = [*actor.ops[: len(actor.ends) + served], *(op for op in following if op[0] == "release")]

    def _end(self, actor: _Actor, delivered: float = 0.0) -> None:
        actor.ends.append(self.now_s)
        actor.delivered.append(delivered)
        actor.busy = ""

    def _begin_what_can_begin(self) -> None:
        idle = [a for a in self.actors.values() if not a.busy and not a.done]
        while idle:
            for actor in idle:
                self._begin(actor)
            idle = [a for a in self.actors.values() if not a.busy and not a.done]

    def _begin(self, actor: _Actor) -> None:
        kind, *args = actor.op
        if kind == "send":
            route = self.routes.get((args[0], args[1]), [])
            actor.left, actor.cancel_s = float(args[2]), args[3] if len(args) > 3 else NEVER
            latency_s = sum(self.links[link]["latency_s"] for link in route) if args[2] else 0.0
            actor.busy, actor.until_s = "latency", self.now_s + latency_s
        elif kind == "compute":
            actor.busy, actor.left = "compute", float(args[1])
        elif kind == "sleep":
            actor.busy, actor.until_s = "sleep", self.now_s + args[0]
        elif kind == "acquire":
            actor.busy = "queue"
            self.queues[args[0]].append(actor)
            self._serve(args[0])
        elif kind == "release":
            self._end(actor)
            self.free[args[0]] += 1
            self._serve(args[0])
        else:
            actor.busy = "barrier"
            self.missing[args[0]] -= 1
            if not self.missing[args[0]]:
                self.missing[args[0]] = self.sizes[args[0]]
                for waiting in [a for a in self.actors.values() if a.busy == "barrier" and a.op[1] == args[0]]:
                    self._end(waiting)

    def _serve(self, pool: str) -> None:
        while self.free[pool] and self.queues[pool]:
            self.free[pool] -= 1
            self._end(self.queues[pool].pop(0))

    def _rates(self) -> dict[int, float]:
        rates = {}
        flows = [a for a in self.actors.values() if a.busy == "flow"]
        routes = [self.routes.get((a.op[1], a.op[2]), []) for a in flows]
        latencies = [sum(self.links[link]["latency_s"] for link in route) for route in routes]
        weights = [1 / latency if self.weighted and latency else 1.0 for latency in latencies]
        for actor, rate in zip(flows, fair_rates(routes, weights, self._capacities()), strict=True):
            rates[id(actor)] = rate
        jobs = [a for a in self.actors.values() if a.busy == "compute"]
        for actor in jobs:
            host = self.hosts[actor.op[1]]
            num_jobs = sum(other.op[1] == actor.op[1] for other in jobs)
            rates[id(actor)] = host["speed_flop_s"] * min(1.0, host["cores"] / num_jobs)
        return rates

    def _moments(self, rates: dict[int, float]) -> list[float]:
        """Return when something may happen next."""
        moments = [t for link in self.links.values() for t, _ in link.get("profile", ()) if t > self.now_s]
        for a in self.actors.values():
            if a.busy in ("start", "sleep", "latency"):
                moments.append(a.until_s)
            if a.leaves_s > self.now_s and not a.done:
                moments.append(a.leaves_s)
            if a.busy in ("latency", "flow"):
                moments.append(max(self.now_s, a.cancel_s))
            if a.busy in ("flow", "compute"):
                rate = rates[id(a)]
                moments.append(self.now_s + (a.left / rate if rate else NEVER if a.left else 0.0))
        return moments

    def _advance(self) -> None:
        """Go to the next event and end what ends there."""
        rates = self._rates()
        next_s = min(self._moments(rates), default=NEVER)
        assert next_s < NEVER, "the scenario never ends"
        for actor in self.actors.values():
            if id(actor) in rates:
                actor.left = max(0.0, actor.left - rates[id(actor)] * (next_s - self.now_s))
        self.now_s = next_s
        for actor in self.actors.values():
            self._end_what_ends(actor)
        for actor in self.actors.values():
            if actor.leaves_s <= self.now_s and not actor.gone and not actor.done:
                self._begin_what_can_begin()
                self._leave(actor)

    def _end_what_ends(self, a: _Actor) -> None:
        if a.busy == "start" and a.until_s <= self.now_s:
            a.busy = ""
        elif a.busy == "sleep":
            if a.until_s <= self.now_s:
                self._end(a)
        elif a.busy == "compute":
            if a.left <= SETTLED * a.op[2]:
                self._end(a)
        elif a.busy in ("flow", "latency"):
            if a.busy == "latency" and a.until_s <= self.now_s:
                a.busy = "flow"
            nothing_to_cross = not self.routes.get((a.op[1], a.op[2]), [])
            if a.busy == "flow" and (nothing_to_cross or a.left <= SETTLED * a.op[3]):
                self._end(a, a.op[3])
            elif a.cancel_s <= self.now_s:
                self._end(a, a.op[3] - a.left)
