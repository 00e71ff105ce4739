"""Who does what: units of work, shared out over processes by their cost and with no talk between them.

Nothing here asks for a process or a device, so that thousands of processes can be planned for on one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from heapq import heapify, heapreplace
from math import prod
from operator import itemgetter
from typing import NamedTuple

from .boxes import Box, Span, shape_of, within


class Place(NamedTuple):
    """A process, by its rank among the replicas and among the shards."""

    replica: int
    shard: int


class Member(NamedTuple):
    """A parameter's part in a plan: `units`, boxes of it in the form `shape`, each to be had whole by one.

    It is cut along `dim` into the `spans` of the shards. costs: of each unit, in any one measure.
    """

    shape: tuple[int, ...]
    dim: int
    spans: tuple[Span, ...]
    units: tuple[Box, ...]
    costs: tuple[int, ...]

    def holders(self, unit: Box) -> range:
        """The shards that hold a part of a unit."""
        low, high = unit[self.dim]
        # Spans are in order and the empty ones last.
        first = bisect_right(self.spans, low, key=itemgetter(0)) - 1
        return range(first, bisect_left(self.spans, high, key=itemgetter(0)))

    def shard_box(self, shard: int) -> Box:
        """What a shard holds."""
        return within(tuple((0, size) for size in self.shape), self.dim, self.spans[shard])


class Unit(NamedTuple):
    """A unit of a plan: the numbers of its member and of its box there, its owner, and who holds parts."""

    member: int
    number: int
    box: Box
    owner: Place
    holders: range

    @property
    def is_local(self) -> bool:
        """Whether its owner's shard holds it whole."""
        return len(self.holders) == 1 and self.holders[0] == self.owner.shard


def cheapest_first(costs: Sequence[int], loads: list[int]) -> list[int]:
    """The rank for each cost, largest cost first to the least loaded rank; the loads grow."""
    heap = [(load, rank) for rank, load in enumerate(loads)]
    heapify(heap)
    ranks = [0] * len(costs)
    for i in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        load, rank = heap[0]
        ranks[i] = rank
        heapreplace(heap, (load + costs[i], rank))
    for load, rank in heap:
        loads[rank] = load
    return ranks


class Plan:
    """The units of members, shared out over `replicas` times `shards` processes.

    A unit that one shard holds whole stays with that shard, and its replicas share such units out; all
    others go where the load is least. Members that are added later leave the shares of the others as they
    are, for state may belong to them.
    """

    def __init__(self, replicas: int, shards: int):
        self.replicas, self.shards = replicas, shards
        self.members: list[Member] = []
        # By member.
        self.units: list[list[Unit]] = []
        # By process, replica by replica.
        self.loads = [0] * (replicas * shards)

    def add(self, members: Sequence[Member]) -> list[list[Unit]]:
        """Share out the units of more members; returns those of each."""
        first = len(self.members)
        self.members += members
        holders = [[member.holders(box) for box in member.units] for member in members]
        owners = self._owners(members, holders)
        added = [
            [Unit(first + i, j, box, owners[i, j], holders[i][j]) for j, box in enumerate(member.units)]
            for i, member in enumerate(members)
        ]
        self.units += added
        return added

    def _owners(self, members: Sequence[Member], holders: list[list[range]]) -> dict[tuple[int, int], Place]:
        """The owner of each unit, by the numbers of its member and its own."""
        free: list[tuple[int, int]] = []
        bound: dict[int, list[tuple[int, int]]] = {}
        for i, own in enumerate(holders):
            for j, shards in enumerate(own):
                (bound.setdefault(shards[0], []) if len(shards) == 1 else free).append((i, j))
        owners: dict[tuple[int, int], Place] = {}
        # The bound first, for they leave less choice.
        for shard, keys in bound.items():
            loads = self.loads[shard :: self.shards]
            replicas = cheapest_first([members[i].costs[j] for i, j in keys], loads)
            self.loads[shard :: self.shards] = loads
            owners.update((key, Place(replica, shard)) for key, replica in zip(keys, replicas))
        ranks = cheapest_first([members[i].costs[j] for i, j in free], self.loads)
        owners.update((key, Place(*divmod(rank, self.shards))) for key, rank in zip(free, ranks))
        return owners

    def piece(self, unit: Unit, shard: int) -> Box:
        """The part of a unit that a shard holds."""
        member = self.members[unit.member]
        return within(unit.box, member.dim, member.spans[shard])

    def piece_size(self, unit: Unit, shard: int) -> int:
        """Number of entries of that part."""
        return prod(shape_of(self.piece(unit, shard)))
