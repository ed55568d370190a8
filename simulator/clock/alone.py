"""How long a client's round would take if nobody else were there: its path through the protocol, without waiting."""

from collections.abc import Callable, Sequence

from simulator.clock.world import Participant, Steps, World
from simulator.network.fluid import Link
from simulator.protocols.rounds import ClientPlan

ClientRound = Callable[[Participant, ClientPlan], Steps]
"""What a client does in a round, step by step."""


PathS = Callable[[World, int, ClientPlan, ClientRound], float]
"""How long a client's round would take it alone, in s: `path_s`, or `played_s` where a client does several things."""


class Alone(Participant):
    """A participant for whom no time passes: it adds up the time that would.

    Attributes:
        path_s: the sum so far.
        at_server_s: what it was each time that the server's turn came.
    """

    path_s = 0.0

    def __post_init__(self) -> None:
        """Start at 0."""
        super().__post_init__()
        self.at_server_s: list[float] = []

    def compute(self, kind: str, seconds: float) -> Steps:  # noqa: ARG002
        """Add the time of a computation."""
        self.path_s += seconds
        yield from ()

    def serve(self, kind: str, seconds: float, **how: object) -> Steps:  # noqa: ARG002
        """Add the time of the server's work."""
        self.at_server_s.append(self.path_s)
        self.path_s += seconds
        yield from ()

    def _send(self, actor: str, route: Sequence[Link], parts: Sequence[tuple[str, int]]) -> Steps:  # noqa: ARG002
        if num_bytes := sum(size for _, size in parts):
            # A link that is down at this moment does not say how fast it is; the others do.
            rates = [link.capacity_bytes_per_s for link in route if link.capacity_bytes_per_s > 0]
            self.path_s += self._latency_s + (num_bytes / min(rates) if rates else 0.0)
        yield from ()


def path_s(world: World, number: int, plan: ClientPlan, client_round: ClientRound) -> float:
    """Return how long a client's round, the n-th of the run, would take it alone, in s."""
    return _played(world, number, plan, client_round).path_s


def played_s(world: World, number: int, plan: ClientPlan, client_round: ClientRound) -> float:
    """Return how long a client's round takes it in a world of its own, in s, even if it does things at once."""
    own = world.anew()
    me = Participant(world=own, client=plan.client, round=number)
    own.env.run(me.begin(client_round(me, plan)))
    return me.ended_s


def lags_s(world: World, number: int, plan: ClientPlan, client_round: ClientRound) -> tuple[float, ...]:
    """Return how much of a client's round, alone, is still to come each time that it turns to the server, in s.

    It ranks a client at a server that serves the largest remaining lag first; for others it is left out.
    """
    if not world.server.by_priority:
        return ()
    alone = _played(world, number, plan, client_round)
    return tuple(alone.path_s - at_s for at_s in alone.at_server_s)


def _played(world: World, number: int, plan: ClientPlan, client_round: ClientRound) -> Alone:
    alone = Alone(world=world, client=plan.client, round=number)
    for _ in client_round(alone, plan):
        pass  # nothing is waited for
    return alone
