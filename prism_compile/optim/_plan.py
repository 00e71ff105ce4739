"""Who does what: blocks of parameters, shared out over ranks by their cost and with no talk between them.

Nothing here asks for a process or a device, so that thousands of ranks can be planned for on one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from heapq import heapify, heapreplace
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

from torch import Tensor

# So many sets of parameters (which have gradients differs) have their routes kept, and each single one.
_KEPT_ROUTES = 8

Span = tuple[int, int]
# A span of each dimension.
Box = tuple[Span, ...]


def even_spans(length: int, count: int) -> list[Span]:
    """`count` spans that cover a length, their sizes at most one apart."""
    edges = [length * i // count for i in range(count + 1)]
    return list(pairwise(edges))


# Many parameters have the same spans, and those of thousands of shards take long to list.
@lru_cache(1024)
def chunk_spans(length: int, count: int) -> tuple[Span, ...]:
    """The shards of a length that DTensor and `torch.chunk` make: the last ones smaller, or empty."""
    size = -(-length // count)
    edges = [min(i * size, length) for i in range(count + 1)]
    return tuple(pairwise(edges))


def whole_box(shape: Sequence[int]) -> Box:
    return tuple((0, size) for size in shape)


def shape_of(box: Box) -> tuple[int, ...]:
    return tuple(high - low for low, high in box)


def within(box: Box, dim: int, span: Span) -> Box:
    """The part of a box that lies in a span of one dimension; it may be empty."""
    low, high = (max(box[dim][0], span[0]), min(box[dim][1], span[1]))
    return (*box[:dim], (low, max(low, high)), *box[dim + 1 :])


def part(tensor: Tensor, held: Box, box: Box) -> Tensor:
    """The view of a box in a tensor that holds the box `held`."""
    if box == held:
        return tensor
    return tensor[tuple(slice(low - first, high - first) for (low, high), (first, _) in zip(box, held))]


class Rank(NamedTuple):
    """A process, by its rank among the replicas and among the shards."""

    replica: int
    shard: int


class ParameterPlan(NamedTuple):
    """How one parameter is cut: into `boxes`, each the work of one rank, and into `spans` along `dim`.

    Boxes are of the parameter in the form `shape`; the spans are what each shard holds. costs: of each box,
    in any one measure.
    """

    shape: tuple[int, ...]
    dim: int
    spans: tuple[Span, ...]
    boxes: tuple[Box, ...]
    costs: tuple[int, ...]

    def holders(self, box: Box) -> range:
        """The shards that hold a part of a box."""
        low, high = box[self.dim]
        # Spans are in order and the empty ones last.
        first = bisect_right(self.spans, low, key=itemgetter(0)) - 1
        return range(first, bisect_left(self.spans, high, key=itemgetter(0)))


class Block(NamedTuple):
    """A box of a parameter, both by number in their plans, its owner, and the shards that hold parts."""

    parameter: int
    number: int
    box: Box
    owner: Rank
    holders: range

    @property
    def is_local(self) -> bool:
        """Whether its owner's shard holds it whole."""
        return len(self.holders) == 1 and self.holders[0] == self.owner.shard


def largest_first(costs: Sequence[int], loads: list[int]) -> list[int]:
    """The rank for each cost, the largest cost first and to the rank with the least load; the loads grow."""
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
    """The blocks of parameters, shared out over `replicas` times `shards` ranks, as one rank sees them.

    A block that one shard holds whole stays with that shard, and its replicas share such blocks out; all
    others go where the load is least. Parameters that are added later leave the owners of the others as they
    are, for state may belong to them. groups: the process groups of the replicas and of the shards.
    """

    def __init__(
        self,
        replicas: int,
        shards: int,
        here: tuple[int, int] = (0, 0),
        groups: tuple[Any, Any] = (None, None),
    ):
        self.replicas, self.shards, self.here, self.groups = replicas, shards, Rank(*here), groups
        self.parameters: list[ParameterPlan] = []
        # By parameter.
        self.blocks: list[list[Block]] = []
        # By rank, replica by replica.
        self.loads = [0] * (replicas * shards)
        self._routes: dict[tuple[int, ...], Route] = {}

    @property
    def is_alone(self) -> bool:
        """Whether nothing is ever sent."""
        return self.replicas * self.shards == 1

    def add(self, parameters: Sequence[ParameterPlan]) -> None:
        """Share out the blocks of more parameters."""
        first = len(self.parameters)
        self.parameters += parameters
        holders = [[own.holders(box) for box in own.boxes] for own in parameters]
        # By the shard that holds a block whole, None where it is free to go anywhere.
        blocks: dict[int | None, list[tuple[int, int]]] = {}
        for i, row in enumerate(holders):
            for j, shards in enumerate(row):
                blocks.setdefault(shards[0] if len(shards) == 1 else None, []).append((i, j))
        owners: dict[tuple[int, int], Rank] = {}
        # The free blocks come last, for they leave the most choice.
        for shard in sorted(blocks, key=lambda shard: shard is None):
            ranks = slice(None) if shard is None else slice(shard, None, self.shards)
            numbers, loads = range(len(self.loads))[ranks], self.loads[ranks]
            found = largest_first([parameters[i].costs[j] for i, j in blocks[shard]], loads)
            self.loads[ranks] = loads
            for key, number in zip(blocks[shard], found):
                owners[key] = Rank(*divmod(numbers[number], self.shards))
        self.blocks += [
            [Block(first + i, j, box, owners[i, j], holders[i][j]) for j, box in enumerate(own.boxes)]
            for i, own in enumerate(parameters)
        ]

    def held(self, parameter: int) -> Box:
        """What `here` holds of a parameter."""
        own = self.parameters[parameter]
        return within(whole_box(own.shape), own.dim, own.spans[self.here.shard])

    def piece(self, block: Block, shard: int | None = None) -> Box:
        """The part of a block that a shard holds, by default that of `here`."""
        own = self.parameters[block.parameter]
        return within(block.box, own.dim, own.spans[self.here.shard if shard is None else shard])

    def route(self, parameters: Iterable[int]) -> "Route":
        """Where the blocks of some parameters travel."""
        key = tuple(parameters)
        if key not in self._routes:
            if len(self._routes) == _KEPT_ROUTES + len(self.parameters):
                self._routes.clear()
            self._routes[key] = Route(self, key)
        return self._routes[key]


class Route:
    """Where the blocks of some parameters travel.

    owned: those of this rank. Among the shards of its replica: lent[r], those that shard r owns and of which
    a piece is here; borrowed[r], those owned here of which shard r holds a piece. moves: whether any block of
    its replica travels, which all of its shards see alike. Among the replicas: given[r], those that replica r
    owns and of which a piece is here. parts: by parameter, the blocks with a piece here.
    """

    def __init__(self, plan: Plan, parameters: Iterable[int]):
        here = plan.here
        self.blocks = [block for number in parameters for block in plan.blocks[number]]
        self.owned = [block for block in self.blocks if block.owner == here]
        self.moves = False
        self.lent: list[list[Block]] = [[] for _ in range(plan.shards)]
        self.borrowed: list[list[Block]] = [[] for _ in range(plan.shards)]
        self.given: list[list[Block]] = [[] for _ in range(plan.replicas)]
        self.parts: dict[int, list[Block]] = {}
        for block in self.blocks:
            is_here = here.shard in block.holders
            if is_here:
                self.given[block.owner.replica].append(block)
                self.parts.setdefault(block.parameter, []).append(block)
            if block.is_local or block.owner.replica != here.replica:
                continue
            self.moves = True
            if block.owner == here:
                for shard in block.holders:
                    if shard != here.shard:
                        self.borrowed[shard].append(block)
            elif is_here:
                self.lent[block.owner.shard].append(block)
