"""How long a client's round would take if nobody else were there: its path through the protocol, without waiting."""

from collections.abc import Callable, Sequence

from simulator.fluid import Link
from simulator.protocols.rounds import ClientPlan
from simulator.world import Participant, Steps, World

ClientRound = Callable[[Participant, ClientPlan], Steps]
"""What a client does in a round, step by step."""


class Alone(Participant):
    """A participant for whom no time passes: it adds up the time that would.

    Attributes:
        path_s: the sum so far.
    """

    path_s = 0.0

    def compute(self, kind: str, seconds: float) -> Steps:  # noqa: ARG002
        """Add the time of a computation."""
        self.path_s += seconds
        yield from ()

    def serve(self, kind: str, seconds: float) -> Steps:  # noqa: ARG002
        """Add the time of the server's work."""
        self.path_s += seconds
        yield from ()

    def _send(self, actor: str, route: Sequence[Link], parts: Sequence[tuple[str, int]]) -> Steps:  # noqa: ARG002
        if num_bytes := sum(size for _, size in parts):
            # A link that is down at this moment does not say how fast it is; the others do.
            rates = [link.capacity_bytes_per_s for link in route if link.capacity_bytes_per_s > 0]
            self.path_s += self._latency_s + (num_bytes / min(rates) if rates else 0.0)
        yield from ()


def path_s(world: World, plan: ClientPlan, client_round: ClientRound) -> float:
    """Return how long a client's round would take it alone, in s."""
    alone = Alone(world=world, client=plan.client, round=0)
    for _ in client_round(alone, plan):
        pass  # nothing is waited for
    return alone.path_s
