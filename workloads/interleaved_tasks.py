"""Training whose steps depend on each other across clients: one server adapter, stepped in an order that is given.

In `sl` and `sfl-v2` what a client learns depends on what the server has learned from others by then. So the clients of
a round are computed together, as the members of one *interleaving*, and each has a task of its own, which names the
whole: the members' own tasks and the order of their steps are a part of every member's key.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from workloads.tasks import TrainTask

Order = tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Interleaving:
    """How the steps of a round follow each other.

    Attributes:
        members: keys of what each member would do alone, by place.
        hands_in: for each place, whether its client part counts; of one that does not only the server's steps stay.
        order: (place, step), the step from 0 and in order for each place, as the server took them.
        relayed: whether each member goes on with the client part that the one before it handed in (`sl`), or all start
            with that of the round's adapter (`sfl-v2`). Relayed, a place's steps follow each other without a gap.
        server: key of the task that holds the server's moments so far; None to start afresh.
    """

    members: tuple[str, ...]
    hands_in: tuple[bool, ...]
    order: Order
    relayed: bool
    server: str | None

    def __post_init__(self) -> None:
        """Refuse an order that members cannot have."""
        steps = [[step for place, step in self.order if place == member] for member in range(len(self.members))]
        if any(own != list(range(len(own))) or not own for own in steps):
            raise ValueError("every member needs its steps 0, 1, ... in order")
        if self.relayed and len(self.turns) != len(self.members):
            raise ValueError("a relayed adapter is with one member at a time")

    @property
    def turns(self) -> tuple[int, ...]:
        """Return the places in the order of their steps, each once where its steps follow each other."""
        places = [place for place, _ in self.order]
        return tuple(place for i, place in enumerate(places) if i == 0 or places[i - 1] != place)

    @cached_property
    def name(self) -> str:
        """Return the sha256 of all of it, in hex."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class InterleavedTask(TrainTask):
    """Train one member of an interleaving; its `group` is the interleaving's name.

    The state that it makes is the member's whole adapter as it is at the end of the round, or, relayed, at the end of
    its turn: its own client part and the server's part. Of a member that does not hand in it is the server's alone.

    Attributes:
        place: among the members.
        interleaving: of which it is one.
    """

    place: int
    interleaving: Interleaving

    @property
    def content(self) -> Mapping[str, object]:
        """Return what it would do alone, its place, and, by its group, everything that all members do."""
        return {**super().content, "place": self.place}

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return its own inputs and the state with the server's moments."""
        server = self.interleaving.server
        return super().inputs if server is None else (*super().inputs, server)


def interleave(
    tasks: Sequence[TrainTask], *, hands_in: Sequence[bool], order: Order, relayed: bool, server: str | None
) -> list[InterleavedTask]:
    """Return the members of an interleaving.

    Args:
        tasks: what each would do alone, with a batch for each of its steps in `order`.
        hands_in: see `Interleaving`, as of the others.
        order: of the steps.
        relayed: or parallel.
        server: key of the task with its moments.
    """
    interleaving = Interleaving(
        members=tuple(task.key for task in tasks),
        hands_in=tuple(hands_in),
        order=order,
        relayed=relayed,
        server=server,
    )
    own = [{field.name: getattr(task, field.name) for field in dataclasses.fields(TrainTask)} for task in tasks]
    return [
        InterleavedTask(**fields | {"group": interleaving.name, "place": place, "interleaving": interleaving})
        for place, fields in enumerate(own)
    ]


def whole_ranks(tasks: Sequence[TrainTask]) -> list[tuple[int, ...]]:
    """Return how many rows of each block count of the whole adapter of each member of an interleaving.

    Of its own blocks those that it trains; of the others, which are the server's one adapter, those that any member
    trains there: what one has no rows for, the server has learned from others.
    """
    num_blocks = len(tasks[0].ranks)
    of_server = [max((task.ranks[j] for task in tasks if task.cut <= j), default=0) for j in range(num_blocks)]
    return [(*task.ranks[: task.cut], *of_server[task.cut :]) for task in tasks]
