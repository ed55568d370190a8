"""Random scenarios of the `simgrid_truth/1` schema, of every kind that the schema allows."""

import random
from typing import Any

KINDS = (
    "star", "half-duplex", "cells", "peers", "profile", "cancel", "weighted", "server", "sharing", "ties", "mixed",
)  # fmt: skip


def scenario(kind: str, seed: int, num_clients: int = 6) -> dict[str, Any]:
    """Return a scenario of a kind; its numbers are a function of kind and seed."""
    rng = random.Random(f"{kind} {seed}")
    latency_s = rng.choice((0.0, 0.013))
    capacities = [rng.uniform(1e6, 1e7) for _ in range(3)]  # few different ones: clients of one class
    links: list[dict[str, Any]] = []
    routes: list[dict[str, Any]] = []

    def link(name: str, capacity: float, latency_s: float = 0.0) -> str:
        points = sorted(rng.uniform(-1, 8) for _ in range(rng.randint(0, 4))) if kind in ("profile", "mixed") else []
        profile = [[time_s, rng.choice((0.0, rng.uniform(0.1, 2) * capacity))] for time_s in points]
        if profile:
            profile.append([9.0, capacity])
        links.append({"id": name, "bandwidth_B_s": capacity, "latency_s": latency_s, "profile": profile})
        return name

    hub_capacity = rng.uniform(0.2, 1.2) * num_clients * 4e6
    up = link("srv_in", hub_capacity, latency_s)
    down = up if kind == "half-duplex" else link("srv_out", rng.uniform(0.5, 2) * hub_capacity, latency_s)
    cells = (
        [[link(f"cell{i}", rng.uniform(2e6, 1.5e7))] for i in range(2)] if kind in ("cells", "peers", "mixed") else [[]]
    )
    for i in range(num_clients):
        own_s = rng.choice((0.0, rng.uniform(0.001, 0.2))) if kind == "weighted" else latency_s
        out = link(f"up{i}", rng.choice(capacities), own_s)
        back = out if kind == "half-duplex" and i % 2 else link(f"dn{i}", rng.choice(capacities), own_s)
        cell = cells[i % len(cells)]
        routes.append({"src": f"c{i}", "dst": "srv", "links": [out, *cell, up]})
        routes.append({"src": "srv", "dst": f"c{i}", "links": [down, *cell, back]})
        if kind in ("peers", "mixed") and i:
            routes.append({"src": f"c{i}", "dst": "c0", "links": [out, *cell, *cells[0], "dn0"]})
    return {
        "id": f"{kind} {seed}",
        "tags": ["rtt_weighted"] if kind == "weighted" else [],
        "hosts": [
            *(
                {"id": f"c{i}", "speed_flop_s": rng.uniform(1e8, 1e9), "cores": rng.randint(1, 2)}
                for i in range(num_clients)
            ),
            {"id": "srv", "speed_flop_s": 1e10, "cores": rng.randint(1, 3)},
        ],
        "links": links,
        "routes": routes,
        "pools": [{"id": "gpu", "slots": rng.randint(1, 2), "discipline": "fifo"}],
        "barriers": [{"id": "round", "n": _num_actors(kind, num_clients)}],
        "actors": [
            {
                "id": f"a{i}",
                "start_s": _start_s(kind, rng),
                "ops": _operations(kind, rng, f"c{i % num_clients}", routes),
            }
            for i in range(_num_actors(kind, num_clients))
        ],
    }


def _num_actors(kind: str, num_clients: int) -> int:
    return 2 * num_clients if kind in ("peers", "mixed") else num_clients  # several messages of one client at once


def _start_s(kind: str, rng: random.Random) -> float:
    return float(rng.randint(0, 1)) if kind == "ties" else rng.uniform(0, 2)


def _operations(kind: str, rng: random.Random, client: str, routes: list[dict[str, Any]]) -> list[list[Any]]:
    own = [route for route in routes if client in (route["src"], route["dst"])]
    choices = {"server": "sqqc", "sharing": "sppc", "ties": "ss"}.get(kind, "ssscz")
    operations: list[list[Any]] = []
    for choice in rng.choices(choices, k=rng.randint(1, 5)):
        if choice == "s":
            route = rng.choice(own)
            num_bytes = rng.choice((0, 4_000_000, rng.randint(1, 10_000_000)))
            operations.append(["send", route["src"], route["dst"], num_bytes])
            if kind in ("cancel", "mixed") and rng.random() < 0.5:
                operations[-1].append(rng.uniform(0, 8))
        elif choice == "q":
            operations += [["acquire", "gpu"], ["compute", "srv", rng.uniform(1e8, 1e10)], ["release", "gpu"]]
        elif choice == "p":
            operations.append(["compute", "srv", rng.choice((0.0, rng.uniform(1e8, 1e10)))])
        elif choice == "c":
            operations.append(["compute", client, rng.uniform(1e7, 1e9)])
        else:
            operations.append(["sleep", rng.uniform(0, 1)])
    if kind != "ties":
        operations.append(["barrier", "round"])
        operations.append(["send", client, "srv", rng.randint(1, 1_000_000)])
    return operations
