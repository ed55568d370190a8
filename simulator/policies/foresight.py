"""What a round would cost a client at each cut, before it happens: the protocol is asked, and no time passes.

What a client does in a round is walked through once for every combination of device, cut and batch, and what it asks
of each resource is added up. Links and batches then make the seconds of one client: a few operations on arrays.
"""

import functools
from collections import Counter
from collections.abc import Sequence

import numpy as np

from simulator.clock.serial_rounds import one_after_another
from simulator.clock.world import Participant, Steps, World
from simulator.policies.observation import CutCosts, Floats, RoundSeconds
from simulator.protocols.rounds import ClientLog, ClientPlan, PaddedBatch
from simulator.setting import Setting

SERVER_BESIDE = frozenset({"local-loss"})
"""The server works for a client while that goes on: the longer of the two counts (DTFL, arXiv 2312.05642)."""

Stacked = tuple[int, ...]


class Tally(Participant):
    """A participant for whom no time passes: it adds up what each resource would have to do.

    Attributes:
        client_s, server_s: computing.
        num_messages: of at least one byte.
        up_bytes, down_bytes: sent and received.
    """

    client_s = server_s = 0.0
    num_messages = up_bytes = down_bytes = 0

    def compute(self, kind: str, seconds: float) -> Steps:  # noqa: ARG002
        """Add the time of a computation."""
        self.client_s += seconds
        yield from ()

    def serve(self, kind: str, seconds: float, **how: object) -> Steps:  # noqa: ARG002
        """Add the time of the server's work."""
        self.server_s += seconds
        yield from ()

    def upload(self, *parts: tuple[str, int]) -> Steps:
        """Add a message to the server."""
        self.up_bytes += self._message(parts)
        yield from ()

    def download(self, *parts: tuple[str, int]) -> Steps:
        """Add a message from the server."""
        self.down_bytes += self._message(parts)
        yield from ()

    def _message(self, parts: Sequence[tuple[str, int]]) -> int:
        num_bytes = sum(size for _, size in parts)
        self.num_messages += num_bytes > 0
        return num_bytes


class Foresight:
    """Predicts rounds of the clients of a run.

    Args:
        setting: what the run works with.
        world: whose costs the protocol asks for.
    """

    def __init__(self, setting: Setting, world: World) -> None:
        self._setting, self._world = setting, world
        protocol = setting.scenario.protocol
        self._client_round, self._is_beside = one_after_another(protocol), protocol.kind in SERVER_BESIDE
        self._work = functools.cache(self._new_work)

    def costs(self, client: int, number: int, last: ClientLog | None = None) -> CutCosts:
        """Return what a round would cost a client, but for what aggregations may have left to the base model.

        Args:
            client: its number.
            number: of the round, or of its own turn, whose batches are known.
            last: its last round; None before its first.
        """

        def predict() -> RoundSeconds:
            return self.seconds(client, self._setting.data.padded_steps(client, number))

        return CutCosts(predict) if last is None else CutCosts(predict, lambda: self._slowdown(last))

    def seconds(self, client: int, steps: Sequence[PaddedBatch], stacked: Stacked = ()) -> RoundSeconds:
        """Return the seconds of a client's round by cut; what steps cost does not depend on each other."""
        device = int(self._setting.fleet.device_index[client])
        nothing = self._work(device, None, ())
        total = self._work(device, None, stacked).copy()
        for batch, num in Counter(steps).items():
            total += num * (self._work(device, batch, ()) - nothing)
        client_s, server_s, num_messages, up_bytes, down_bytes = total
        links, (uplinks, downlinks) = self._setting.server_links, self._lone_rates
        transfer_s: Floats = (
            num_messages * (float(self._setting.fleet.latency_s[client]) + links.latency_s)
            + up_bytes / min(float(uplinks[client]), links.uplink_bytes_per_s)
            + down_bytes / min(float(downlinks[client]), links.downlink_bytes_per_s)
        )
        return RoundSeconds(client_s=client_s, transfer_s=transfer_s, server_s=server_s, is_beside=self._is_beside)

    @functools.cached_property
    def _lone_rates(self) -> tuple[Floats, Floats]:
        return self._setting.connections.lone_rates(self._setting.fleet)

    def _slowdown(self, last: ClientLog) -> float:
        plan = last.plan
        predicted_s = self.seconds(plan.client, plan.steps, plan.stacked).client_s[plan.cut - 1]
        observed_s = sum(seconds for kind, seconds in last.seconds.items() if kind.startswith("client_"))
        return float(observed_s / predicted_s)

    def _new_work(self, device: int, batch: PaddedBatch | None, stacked: Stacked) -> Floats:
        """Return what a round of one batch or none asks for: (client s, server s, messages, bytes up, down) by cut."""
        client = int(np.argmax(self._setting.fleet.device_index == device))
        steps = () if batch is None else (batch,)
        rows = []
        for cut in range(1, self._setting.shape.num_blocks):
            tally = Tally(world=self._world, client=client, round=0)
            for _ in self._client_round(tally, ClientPlan(client=client, cut=cut, steps=steps, stacked=stacked)):
                pass  # nothing is waited for
            rows.append((tally.client_s, tally.server_s, tally.num_messages, tally.up_bytes, tally.down_bytes))
        return np.array(rows, dtype=np.float64).T
