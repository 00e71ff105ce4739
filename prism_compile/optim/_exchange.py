"""Pieces of parameters between ranks: to the owner of each block and back to all who hold a part of it.

Of a grid of replicas times shards one rank solves a block. One all-to-all among the shards of its replica
brings it the pieces that it lacks, another takes the update's pieces back, and one all-gather among the
replicas spreads what each has solved. Every rank must call with the same parameters.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Optional

import torch
from torch import Tensor

from ._layout import Layout
from ._plan import Block, Box, Plan, Rank, part, shape_of

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
    """The traffic of a plan, as one rank sees it.

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

    def in_form(self, parameter: int, tensor: Tensor) -> Tensor:
        """What this rank holds of a parameter, in the form that its plan cuts."""
        return tensor.reshape(shape_of(self.held(parameter)))

    def local_piece(self, local: Callable[[int], Tensor], block: Block) -> Tensor:
        """The view of what this rank holds of a block; `local` has what it holds of a parameter, in form."""
        piece = self.plan.piece(block, self.here.shard)
        return part(local(block.parameter), self.held(block.parameter), piece)

    def collect(
        self, route: Route, local: Callable[[int], Tensor], like: Tensor
    ) -> Iterator[tuple[Block, Tensor | None]]:
        """Each of the blocks that this rank owns, put together; None for one that is here whole.

        local: what this rank holds of a parameter, in form; it is asked for only where a piece of the
        parameter travels. like: of the dtype and device that travel.
        """
        arrived: dict[Block, dict[int, Tensor]] = {}
        if route.moves:
            outgoing = [[self.local_piece(local, b).to(like.dtype) for b in row] for row in route.lent]
            sizes = self._sizes(route.borrowed)
            for shard, row in enumerate(_all_to_all(outgoing, sizes, like, self._shards)):
                for block, piece in zip(route.borrowed[shard], row):
                    arrived.setdefault(block, {})[shard] = piece
        for block in route.owned:
            if block.is_local:
                yield block, None
                continue
            pieces = arrived.pop(block, {})
            if self.here.shard in block.holders:
                pieces[self.here.shard] = self.local_piece(local, block)
            boxes = {self.plan.piece(block, shard): piece for shard, piece in pieces.items()}
            yield block, _put_together(block.box, boxes, like)

    def _sizes(self, rows: list[list[Block]], here: bool = False) -> list[list[int]]:
        """The sizes of blocks' pieces at the shard of each row, or of those that are here."""
        return [
            [self.plan.piece_size(block, self.here.shard if here else shard) for block in row]
            for shard, row in enumerate(rows)
        ]

    def distribute(
        self, route: Route, updates: dict[Block, Tensor], like: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        """What this rank holds of each parameter's update; updates: of the blocks that it owns."""
        pieces = self._returned(route, updates, like)
        if self.plan.replicas > 1:
            sizes = self._sizes(route.given, here=True)
            own = [pieces[block] for block in route.given[self.here.replica]]
            for blocks, row in zip(route.given, all_gather(own, sizes, like, self._replicas)):
                pieces.update(zip(blocks, row))
        for parameter, blocks in route.parts.items():
            held = self.held(parameter)
            if len(blocks) == 1:
                yield parameter, pieces[blocks[0]].reshape(shape_of(held))
            else:
                boxes = {self.plan.piece(block, self.here.shard): pieces[block] for block in blocks}
                yield parameter, _put_together(held, boxes, like)

    def _returned(self, route: Route, updates: dict[Block, Tensor], like: Tensor) -> dict[Block, Tensor]:
        """The pieces here of what this replica has solved, by one all-to-all."""

        def piece_of(block: Block, shard: int) -> Tensor:
            if block.is_local:
                return updates[block]
            return part(updates[block], block.box, self.plan.piece(block, shard))

        pieces = {block: piece_of(block, self.here.shard) for block in route.owned}
        if route.moves:
            outgoing = [[piece_of(block, r) for block in row] for r, row in enumerate(route.borrowed)]
            sizes = self._sizes(route.lent, here=True)
            for row, arrived in zip(route.lent, _all_to_all(outgoing, sizes, like, self._shards)):
                pieces.update(zip(row, arrived))
        return pieces

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks of the grid, written to `values`."""
        import torch.distributed as dist

        for group, size in ((self._shards, self.plan.shards), (self._replicas, self.plan.replicas)):
            if size > 1:
                dist.all_reduce(values, group=group)
        return values


def _put_together(box: Box, pieces: dict[Box, Tensor], like: Tensor) -> Tensor:
    whole = like.new_empty(shape_of(box))
    for own, piece in pieces.items():
        target = part(whole, box, own)
        target.copy_(piece.view(target.shape))
    return whole


def _joined(tensors: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors]) if tensors else like.new_empty(0)


def _split(flat: Tensor, sizes: list[int]) -> list[Tensor]:
    return list(flat.split(sizes)) if sizes else []


def _all_to_all(
    outgoing: list[list[Tensor]], sizes: list[list[int]], like: Tensor, group: Group
) -> list[list[Tensor]]:
    """Send `outgoing[r]` to process r of a group; receive from each r flat tensors of `sizes[r]`."""
    sent = _joined([tensor for row in outgoing for tensor in row], like)
    counts = [sum(tensor.numel() for tensor in row) for row in outgoing]
    totals = [sum(row) for row in sizes]
    received = _all_to_all_flat(sent, counts, totals, group)
    return [_split(chunk, row) for chunk, row in zip(received.split(totals), sizes)]


def _all_to_all_flat(sent: Tensor, counts: list[int], receives: list[int], group: Group) -> Tensor:
    import torch.distributed as dist

    received = sent.new_empty(sum(receives))
    dist.all_to_all_single(received, sent, receives, counts, group=group)
    return received


def all_gather(own: list[Tensor], sizes: list[list[int]], like: Tensor, group: Group) -> list[list[Tensor]]:
    """Flat tensors of `sizes[r]` from each process r of a group, of which `own` are this one's.

    One all-gather of the largest share's size brings them, as not every backend gathers unequal ones. Shares
    that differ much (fewer matrices than processes) would be mostly padding: these are made even before.
    """
    totals = [sum(row) for row in sizes]
    everything, largest = sum(totals), max(totals)
    flat = _joined(own, like)
    if not everything:
        joined = flat
    elif is_padded(totals):
        gathered = _gathered(flat, largest, len(sizes), group).split(largest)
        joined = torch.cat([chunk[:total] for chunk, total in zip(gathered, totals)])
    else:
        even = -(-everything // len(sizes))
        joined = _gathered(_made_even(flat, totals, even, group), even, len(sizes), group)[:everything]
    return [_split(chunk, row) for chunk, row in zip(joined.split(totals), sizes)]


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
    return _all_to_all_flat(flat, counts, [common(owner, rank) for owner in range(world)], group)
