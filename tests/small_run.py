"""A scenario that trains for real in a few seconds, for tests."""

from simulator.scenario import Scenario

SMALL = {
    "name": "small",
    "rounds": 2,
    "workload": {
        "max_length_tokens": 32,
        "batch_size": 2,
        "local_steps": 2,
        "validation": {"frac": 0.05, "max_samples": 2},
    },
    "fleet": {
        "clients": [
            {"device": "rpi5-8gb", "network": "us-fixed-user-2025"},
            {"device": "jetson-orin-nano-8gb", "network": "wifi5-2x2-cap"},
            {"device": "rtx-3060-12gb", "network": "us-fixed-user-2025"},
        ]
    },
    "policy": {"kind": "fixed", "cut": 2},
    "evaluation": {"max_samples": 16},
    "execution": {"memo": False},  # whoever counts what is computed must not be answered by another test's work
}


def small(**changes: object) -> Scenario:
    """Return the small scenario with whole sections exchanged."""
    return Scenario.from_mapping({**SMALL, **changes})
