"""How long the policy `optimal` thinks: 1,000 clients, 32 blocks, and how that grows.

Predictions are there already, as they are in a run after its first round on a fleet of known devices. Run from the
repository root:

    python -m tests.benchmarks.optimal
"""

import time
from statistics import median

import numpy as np

from simulator.policies.observation import CutCosts, Observation, RoundSeconds
from simulator.policies.optimal import optimal
from simulator.sections.policy import OptimalPolicy

BAR_S = 0.1
REPEATS = 7


def fleet(num_clients: int, num_blocks: int) -> list[Observation]:
    """Return clients whose paths rise and whose server's work falls with the cut, with different memories."""
    rng, cuts = np.random.default_rng(0), np.arange(1, num_blocks)
    seen = []
    for client in range(num_clients):
        client_s = cuts * rng.uniform(0.01, 0.5)
        transfer_s = np.full(num_blocks - 1, rng.uniform(0.1, 3.0))
        server_s = (num_blocks - cuts) * 0.002
        parts = RoundSeconds(client_s=client_s, transfer_s=transfer_s, server_s=server_s)
        seen.append(
            Observation(
                client=client,
                device="any",
                cut=None,
                min_cut=1,
                max_cut=int(rng.integers(1, num_blocks)),
                busy_s=None,
                step_s=None,
                client_block_s=None,
                server_block_s=None,
                performance=None,
                uplink_bytes_per_s=1e6,
                draw=0.0,
                slots=4,
                is_relayed=False,
                costs=CutCosts(lambda parts=parts: parts),  # type: ignore[misc]
            )
        )
    return seen


def main() -> None:
    """Print the median time of a decision."""
    print(f"{'clients':>9}{'blocks':>8}{'ms':>9}   (bar: {BAR_S * 1e3:.0f} ms for 1,000 clients of 32 blocks)")
    for num_clients, num_blocks in ((100, 32), (1_000, 32), (10_000, 32)):
        seen, times_s = fleet(num_clients, num_blocks), []
        for _ in range(REPEATS):
            start_s = time.perf_counter()
            optimal(seen, {}, OptimalPolicy())
            times_s.append(time.perf_counter() - start_s)
        print(f"{num_clients:9,}{num_blocks:8}{median(times_s) * 1e3:9.1f}")


if __name__ == "__main__":
    main()
