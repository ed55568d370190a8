"""Clients whose device cannot hold what a scenario asks of them, and the words in which users are told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from devices.problems import Problem
from devices.profiles import DeviceProfile
from devices.units import GIBI
from simulator.costs.memory import MemoryModel
from workloads.pricing import priced_cut

MAX_DEVICES = 8  # that a message names


@dataclass(frozen=True, kw_only=True, slots=True)
class TooSmall:
    """Clients with one device that is too small.

    Attributes:
        device: theirs.
        num_clients: that have it.
        asked: the shallowest cut that they are to hold, or all blocks where the model is not cut.
        deepest: the deepest cut that it can hold; 0 where it can hold none.
        key: of the scenario, which gives clients this device.
    """

    device: DeviceProfile
    num_clients: int
    asked: int
    deepest: int
    key: str


@dataclass(frozen=True, kw_only=True)
class TooSmallGroup:
    """All clients that cannot hold the same cut.

    Attributes:
        asked: that cut.
        members: one for each device.
        memory: of the workload.
        priced_as: the model whose blocks are counted, where it is not the one that learns.
    """

    asked: int
    members: Sequence[TooSmall]
    memory: MemoryModel
    priced_as: str | None

    @cached_property
    def num_clients(self) -> int:
        """Return how many they are."""
        return sum(member.num_clients for member in self.members)

    def what(self, cut: int) -> str:
        """Return what a cut asks a client to hold."""
        memory = self.memory
        blocks = priced_cut(cut, memory.num_blocks, memory.shape.num_blocks)
        if not memory.is_split:
            return f"all {blocks} blocks{f' of {self.priced_as}' if self.priced_as else ''}"
        if self.priced_as is None:
            return f"cut {cut}"
        return f"cut {cut}, which is {blocks} {'block' if blocks == 1 else 'blocks'} of {self.priced_as}"

    def outcome(self, num_clients: int, what_happens: str) -> str:
        """Return what becomes of them, such as `2 of 3 clients take no part: they cannot hold cut 4`."""
        what = self.what(self.asked)
        return f"{self.num_clients:,} of {num_clients:,} clients {what_happens}: they cannot hold {what}"

    def divided(self) -> "tuple[TooSmallGroup | None, TooSmallGroup | None]":
        """Return those that can hold some cut, and those that can hold none; None where there are none."""
        parts = ([m for m in self.members if m.deepest], [m for m in self.members if not m.deepest])
        some, none = (replace(self, members=part) if part else None for part in parts)
        return some, none

    def devices(self, tell: Callable[[TooSmall], str]) -> str:
        """Return what is to be told of each device, in a row."""
        more = len(self.members) - MAX_DEVICES
        left_out = [f"and {more:,} more devices"] if more > 0 else []
        return ", ".join([*map(tell, self.members[:MAX_DEVICES]), *left_out])

    def problem(self, *, fewest: int, can_leave: bool) -> Problem:
        """Return why a scenario that has such clients cannot be run.

        Args:
            fewest: the shallowest cut that they may have.
            can_leave: whether others would be left if they took no part.
        """
        needs = self.memory.client(fewest)
        fixed_bytes = needs.weights_bytes + needs.adapters_bytes + needs.runtime_bytes
        is_batch = fixed_bytes < min(member.device.memory_usable_bytes for member in self.members)
        fixed = "" if is_batch else f" ({gib(fixed_bytes)} GiB of it whatever batch and length)"
        usable = self.devices(lambda member: f"{gib(member.device.memory_usable_bytes)} GiB of {having(member)}")
        message = (
            f"{_clients(self.num_clients)} cannot hold {self.what(fewest)}: "
            f"it takes {gib(needs.total_bytes)} GiB{fixed}, and usable are {usable}; "
            f"{self._advice(is_batch=is_batch, can_leave=can_leave)}"
        )
        keys = {member.key for member in self.members}
        return Problem(message, key=keys.pop() if len(keys) == 1 else "fleet.clients", value=self.members[0].device.id)

    def _advice(self, *, is_batch: bool, can_leave: bool) -> str:
        """Return what would help, and nothing that cannot."""
        deepest = min(member.deepest for member in self.members)
        ways = ["choose another device", "a smaller model", *(["a smaller batch or length"] if is_batch else [])]
        ways += [f"a cut of at most {deepest}"] if self.memory.is_split and deepest else []
        leave = "; or leave them out with costs.oom: exclude" if can_leave else ""
        return f"{', '.join(ways[:-1])} or {ways[-1]}{leave}"


def grouped(members: Sequence[TooSmall], memory: MemoryModel, priced_as: str | None) -> list[TooSmallGroup]:
    """Return those together that cannot hold the same cut."""
    of_cut = dict[int, list[TooSmall]]()
    for member in members:
        of_cut.setdefault(member.asked, []).append(member)
    return [
        TooSmallGroup(asked=cut, members=those, memory=memory, priced_as=priced_as) for cut, those in of_cut.items()
    ]


def gib(num_bytes: int) -> str:
    """Return a size in GiB."""
    return f"{num_bytes / GIBI:.3f}"


def _clients(num: int) -> str:
    return f"{num:,} client{'' if num == 1 else 's'}"


def having(member: TooSmall) -> str:
    """Return a device and how many have it."""
    return f"{member.device.id} ({_clients(member.num_clients)})"
