"""Pieces of parameters between the ranks of a grid of replicas times shards: routes and collectives."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING, Optional

import torch
from torch import Tensor

from ._layout import Layout
from ._plan import Block, Box, Plan, Rank, shape_of

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Group = Optional["ProcessGroup"]

# The sets of parameters, by which gradients are there, whose routes are kept beside those of single ones.
_KEPT_ROUTES = 8
# Shares whose padding would be more than this part of all are made even first: at 0.5 an all-gather may send
# half as much again as it must, at 0.125 a second collective is paid for to save an eighth.
_LARGEST_PADDING = 0.25


class Route:
    """Where the blocks of some parameters travel, as the rank `here` sees it.

    blocks: all of them; owned: those of this rank. Among the shards of its replica: lent[r], those that shard
    r owns and of which a piece is here; borrowed[r], those owned here of which shard r holds a piece. moves:
    whether any block of its replica travels, which all of its shards see alike. Among the replicas: given[r],
    those that replica r owns and of which a piece is here. parts: by parameter, the blocks with a piece here.
    """

    def __init__(self, plan: Plan, here: Rank, parameters: Iterable[int]):
        self.blocks = [block for number in parameters for block in plan.blocks[number]]
        self.owned = [block for block in self.blocks if block.owner == here]
        self.moves = False
        self.lent: list[list[Block]] = [[] for _ in range(plan.shards)]
        self.borrowed: list[list[Block]] = [[] for _ in range(plan.shards)]
        self.given: list[list[Block]] = [[] for _ in range(plan.replicas)]
        self.parts: dict[int, list[Block]] = {}
        for block in self.blocks:
            self._enter(block, here)

    def _enter(self, block: Block, here: Rank) -> None:
        is_here = here.shard in block.holders
        if is_here:
            self.given[block.owner.replica].append(block)
            self.parts.setdefault(block.parameter, []).append(block)
        if block.is_local or block.owner.replica != here.replica:
            return
        self.moves = True
        if block.owner == here:
            for shard in block.holders:
                if shard != here.shard:
                    self.borrowed[shard].append(block)
        elif is_here:
            self.lent[block.owner.shard].append(block)


class Exchange:
    """The traffic of a plan, as one rank sees it. Every rank must call with the same blocks.

    layout: whose groups the plan's grid is of; with `shares_replicas=False` each replica works for itself.
    """

    def __init__(self, layout: Layout, shares_replicas: bool = True):
        self._replicas = layout.replicas if shares_replicas else None
        self._shards = layout.shards
        replicas, shards = layout.sizes()
        replica, shard = layout.place()
        self.plan = Plan(replicas if shares_replicas else 1, shards)
        self.here = Rank(replica if shares_replicas else 0, shard)
        self._routes: dict[tuple[int, ...], Route] = {}
        self._held: dict[int, Box] = {}

    @property
    def alone(self) -> bool:
        """Whether nothing is ever sent."""
        return self.plan.replicas * self.plan.shards == 1

    def route(self, parameters: Iterable[int]) -> Route:
        """Where the blocks of some parameters travel."""
        key = tuple(parameters)
        if key not in self._routes:
            if len(self._routes) == _KEPT_ROUTES + len(self.plan.parameters):
                self._routes.clear()
            self._routes[key] = Route(self.plan, self.here, key)
        return self._routes[key]

    def held(self, parameter: int) -> Box:
        """What this rank holds of a parameter."""
        if parameter not in self._held:
            self._held[parameter] = self.plan.parameters[parameter].held_by(self.here.shard)
        return self._held[parameter]

    def piece(self, block: Block) -> Box:
        """What this rank holds of a block."""
        return self.plan.piece(block, self.here.shard)

    def to_shards(
        self, outgoing: list[list[Tensor]], incoming: list[list[Box]], like: Tensor
    ) -> list[list[Tensor]]:
        """Send `outgoing[r]` to shard r of this replica, by one all-to-all; receive from r `incoming[r]`."""
        sent = _joined([tensor for row in outgoing for tensor in row], like)
        counts = [sum(tensor.numel() for tensor in row) for row in outgoing]
        totals = [sum(map(_size, row)) for row in incoming]
        received = _all_to_all(sent, counts, totals, self._shards)
        return _in_boxes(received, incoming)

    def to_replicas(self, own: list[Tensor], boxes: list[list[Box]], like: Tensor) -> list[list[Tensor]]:
        """Bring together what each replica has, `boxes[r]` at replica r, of which `own` is this one's."""
        totals = [sum(map(_size, row)) for row in boxes]
        return _in_boxes(all_gather(_joined(own, like), totals, self._replicas), boxes)

    def sum(self, values: Tensor, over_replicas: bool = True) -> Tensor:
        """The sum over the shards, and all ranks of the grid with `over_replicas`, written to `values`."""
        import torch.distributed as dist

        if self.plan.shards > 1:
            dist.all_reduce(values, group=self._shards)
        if self.plan.replicas > 1 and over_replicas:
            dist.all_reduce(values, group=self._replicas)
        return values


def _size(box: Box) -> int:
    return prod(shape_of(box))


def _joined(tensors: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors]) if tensors else like.new_empty(0)


def _in_boxes(flat: Tensor, boxes: list[list[Box]]) -> list[list[Tensor]]:
    """A flat tensor, cut into one of each box in turn."""
    pieces = iter(flat.split([_size(box) for row in boxes for box in row]) if any(boxes) else ())
    return [[next(pieces).view(shape_of(box)) for box in row] for row in boxes]


def _all_to_all(sent: Tensor, counts: list[int], receives: list[int], group: Group) -> Tensor:
    import torch.distributed as dist

    received = sent.new_empty(sum(receives))
    dist.all_to_all_single(received, sent, receives, counts, group=group)
    return received


def all_gather(own: Tensor, totals: list[int], group: Group) -> Tensor:
    """The flat tensors of all processes of a group, one after another; they have `totals` entries.

    One all-gather of the largest share's size brings them, as not every backend gathers unequal ones. Shares
    that differ much (fewer matrices than processes) would be mostly padding: these are made even before.
    """
    everything, largest, world = sum(totals), max(totals), len(totals)
    if not everything:
        return own
    if is_padded(totals):
        gathered = _gathered(own, largest, world, group).split(largest)
        return torch.cat([chunk[:total] for chunk, total in zip(gathered, totals)])
    even = -(-everything // world)
    return _gathered(_made_even(own, totals, even, group), even, world, group)[:everything]


def is_padded(totals: Sequence[int]) -> bool:
    """Whether shares of these sizes are padded to the largest, and not made even."""
    return max(totals) * len(totals) <= (1 + _LARGEST_PADDING) * sum(totals)


def _gathered(flat: Tensor, size: int, world: int, group: Group) -> Tensor:
    """The flat tensors of all, each padded to a size, one after another."""
    import torch.distributed as dist

    if flat.numel() < size:
        flat = torch.cat([flat, flat.new_zeros(size - flat.numel())])
    received = flat.new_empty(world * size)
    dist.all_gather_single(received, flat, group=group)
    return received


def _made_even(flat: Tensor, totals: list[int], even: int, group: Group) -> Tensor:
    """This process's even part of all flat tensors, one after another, by an all-to-all."""
    import torch.distributed as dist

    world, rank = len(totals), dist.get_rank(group)
    edges = list(accumulate(totals, initial=0))

    def common(owner: int, number: int) -> int:
        low, high = max(edges[owner], number * even), min(edges[owner + 1], (number + 1) * even)
        return max(0, high - low)

    counts = [common(rank, number) for number in range(world)]
    return _all_to_all(flat, counts, [common(owner, rank) for owner in range(world)], group)
