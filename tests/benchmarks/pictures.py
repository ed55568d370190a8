"""Draw a picture for each protocol and each cut policy: what the pages in docs/protocols and docs/policies show.

Protocols: one round of three unlike clients with two steps each, on one time axis. Policies: the cuts of the same three
kinds of clients over fifteen rounds, at a small server. The clock alone, a few seconds in all.

    python -m tests.benchmarks.pictures
"""

from pathlib import Path

from matplotlib import pyplot as plt

import splitft
from simulator.policies.deciding import POLICIES

IMAGES = Path(__file__).parents[2] / "docs" / "images"
PROTOCOLS = ("sl", "sfl-v1", "sfl-v2", "sfl-pipelined", "local-loss", "u-shape", "fed-lora", "fedbuff")
DOTS_PER_INCH = 80

CLIENTS = [
    {"device": "rpi5-8gb", "network": "lan-1gbe"},
    {"device": "jetson-orin-nano-8gb", "network": "wifi5-2x2-cap"},
    {"device": "apple-m2-16gb", "network": "lan-1gbe"},
]


def draw(name: str, picture: str, **changes: object) -> None:
    """Run a scenario without learning and keep one of its pictures."""
    scenario = splitft.Scenario.from_mapping(
        {
            "name": name.replace("/", "-"),
            "fleet": {"clients": CLIENTS},
            "server": {"device": "rtx-3060-12gb", "network": "lan-1gbe", "slots": 1},
            "execution": {"trainer": "cost-only"},
            **changes,
        }
    )
    figure = splitft.run(scenario).plot(picture)
    path = IMAGES / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH)
    plt.close(figure)


def main() -> None:
    """Draw all of them."""
    workload = {"model": "gpt2", "dataset": {"source": "lengths"}, "max_length_tokens": 128, "local_steps": 2}
    for kind in PROTOCOLS:
        protocol = {"kind": kind, **({"buffer_size": 3} if kind == "fedbuff" else {})}
        draw(
            f"protocols/{kind}",
            "timeline_round_001",
            rounds=1,
            protocol=protocol,
            policy={"kind": "fixed", "cut": 2},
            workload=workload,
        )
    for kind in POLICIES:
        policy = {"kind": kind, **({"cuts": {"rpi5-8gb": 1, "apple-m2-16gb": 6}} if kind == "per-device" else {})}
        draw(f"policies/{kind}", "cuts", rounds=15, policy=policy, workload=workload)


if __name__ == "__main__":
    main()
