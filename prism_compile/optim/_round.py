"""A round of a step: what parameters ask for goes to the owners of their blocks, and their updates return."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._exchange import Exchange
from ._layout import Layout
from ._plan import Block, Box, part, shape_of

# How an optimizer cuts parameters of one shape: compared by value to find whether that has changed, and asked
# by `plan(dim, ranks)` for the ParameterPlan of one that is cut along `dim`, for (replicas, shards) ranks.
Cut = Any


class Share(NamedTuple):
    """Where a parameter stands: its exchange, its number there, how it lies, and how it is cut."""

    exchange: Exchange
    number: int
    layout: Layout
    cut: Cut


class Shares:
    """The plans of parameters: one for all that the same groups of processes share.

    keeps: whether parameters keep their shares however they are to be cut now, and where others are gone,
    for state belongs to their blocks.
    """

    def __init__(self, keeps: bool, shares_replicas: bool = True):
        self._keeps, self._shares_replicas = keeps, shares_replicas
        self._exchanges: dict[Layout, Exchange] = {}
        self._shares: dict[Hashable, Share] = {}

    def __getitem__(self, name: Hashable) -> Share:
        return self._shares[name]

    def share_out(self, wanted: Sequence[tuple[Hashable, Layout, Cut]]) -> None:
        """Give the blocks of parameters, each by a name and in the same order on every process, to ranks.

        Parameters that are known keep their owners, and those that are not wanted any more are forgotten.
        """
        names = {name for name, _, _ in wanted}
        gone = [name for name in self._shares if name not in names]
        if not self._keeps and (gone or any(self._has_changed(*each) for each in wanted)):
            self._exchanges, self._shares, gone = {}, {}, []
        for name in gone:
            del self._shares[name]
        new: dict[Layout, list[tuple[Hashable, Layout, Cut]]] = {}
        for name, layout, cut in wanted:
            if name not in self._shares:
                new.setdefault(layout.groups(), []).append((name, layout, cut))
        for groups, own in new.items():
            if groups not in self._exchanges:
                self._exchanges[groups] = Exchange(groups, self._shares_replicas)
            self._add(self._exchanges[groups], own)

    def _has_changed(self, name: Hashable, layout: Layout, cut: Cut) -> bool:
        return name in self._shares and self._shares[name][2:] != (layout, cut)

    def _add(self, exchange: Exchange, own: list[tuple[Hashable, Layout, Cut]]) -> None:
        plan, first = exchange.plan, len(exchange.plan.parameters)
        plan.add([cut.plan(layout.dim, (plan.replicas, plan.shards)) for _, layout, cut in own])
        for i, (name, layout, cut) in enumerate(own):
            self._shares[name] = Share(exchange, first + i, layout, cut)


class Direction(NamedTuple):
    """The part of a tensor that this process works on: lerp(start, end, weight), or just `end`."""

    end: Tensor
    start: Tensor | None = None
    weight: float = 1.0

    def tensor(self) -> Tensor:
        return self.end if self.start is None else self.start.lerp(self.end, self.weight)

    def write(self, slot: Tensor, read: Callable[[Tensor], Tensor]) -> None:
        """Write what `read` makes of it to a slot, with no copy in between where dtypes agree."""
        if self.start is None or slot.dtype != self.end.dtype:
            slot.copy_(read(self.tensor()))
        else:
            torch.lerp(read(self.start), read(self.end), self.weight, out=slot)


class Request(NamedTuple):
    """What a step asks for one parameter.

    direction: what travels to the owners of its blocks. apply: takes this process's part of the update.
    details: what the optimizer must know of the parameter to solve its blocks.
    """

    share: Share
    direction: Direction
    apply: Callable[[Tensor], None]
    details: Any


class Round:
    """Requests that travel together: of one exchange, one device and one pair of dtypes.

    Of a grid of replicas times shards one rank solves a block. One all-to-all among the shards of its replica
    brings it the pieces that it lacks, another takes the update's pieces back, and one all-gather among the
    replicas spreads what each has solved.
    """

    def __init__(self, exchange: Exchange, travels: Tensor, returns: Tensor):
        self.exchange = exchange
        self.requests: dict[int, Request] = {}
        # Empty tensors of the dtypes that directions and updates travel in.
        self.travels, self.returns = travels, returns
        self._tensors: dict[int, Tensor] = {}
        self._updates: dict[Block, Tensor] = {}

    def piece(self, block: Block, tensor: Tensor) -> Tensor:
        """The view of a block in a tensor that is, like its request's direction, this process's part."""
        held = self.exchange.held(block.parameter)
        tensor = tensor.reshape(shape_of(held))
        return tensor if block.box == held else part(tensor, held, self.exchange.piece(block))

    def _own_piece(self, block: Block) -> Tensor:
        number = block.parameter
        # A parameter of several blocks is cut more than once.
        if number not in self._tensors:
            self._tensors[number] = self.requests[number].direction.tensor()
        return self.piece(block, self._tensors[number])

    def collect(self) -> Iterator[tuple[Block, Tensor | None]]:
        """The blocks that this rank owns, each put together; None for one that is here whole."""
        exchange, route = self.exchange, self.exchange.route(self.requests)
        arrived: dict[Block, dict[Box, Tensor]] = {}
        if route.moves:
            outgoing = [
                [self._own_piece(block).to(self.travels.dtype) for block in row] for row in route.lent
            ]
            boxes = [[exchange.plan.piece(block, r) for block in row] for r, row in enumerate(route.borrowed)]
            rows = exchange.to_shards(outgoing, boxes, self.travels)
            for blocks, own, pieces in zip(route.borrowed, boxes, rows):
                for block, box, piece in zip(blocks, own, pieces):
                    arrived.setdefault(block, {})[box] = piece
        for block in route.owned:
            if block.is_local:
                yield block, None
                continue
            parts = arrived.pop(block, {})
            if exchange.here.shard in block.holders:
                parts[exchange.piece(block)] = self._own_piece(block)
            yield block, _put_together(block.box, parts, self.travels)

    def give(self, block: Block, update: Tensor) -> None:
        """Take the update of a block; where nothing travels a parameter's is applied with its last block."""
        blocks = self.exchange.plan.blocks[block.parameter]
        if self.exchange.alone and len(blocks) == 1:
            self.requests[block.parameter].apply(update)
            return
        # A CUDA graph writes its next results over these.
        self._updates[block] = update.clone()
        if self.exchange.alone and all(own in self._updates for own in blocks):
            self.distribute([block.parameter], {own: self._updates.pop(own) for own in blocks})

    def finish(self) -> None:
        """Apply what was given and is not applied yet."""
        if not self.exchange.alone:
            self.distribute(self.requests, self._updates)

    def portions(self) -> list[list[int]]:
        """The requests to distribute at once: one where nothing travels, which saves memory, or all."""
        return [[number] for number in self.requests] if self.exchange.alone else [list(self.requests)]

    def distribute(self, numbers: Iterable[int], updates: dict[Block, Tensor]) -> None:
        """Apply the updates of some parameters, of which this process has those of the blocks it owns."""
        exchange, route, like = self.exchange, self.exchange.route(numbers), self.returns

        def returned(block: Block, shard: int) -> Tensor:
            if block.is_local:
                return updates[block]
            return part(updates[block], block.box, exchange.plan.piece(block, shard))

        pieces = {block: returned(block, exchange.here.shard) for block in route.owned}
        if route.moves:
            outgoing = [[returned(block, r) for block in row] for r, row in enumerate(route.borrowed)]
            boxes = [[exchange.piece(block) for block in row] for row in route.lent]
            for blocks, row in zip(route.lent, exchange.to_shards(outgoing, boxes, like)):
                pieces.update(zip(blocks, row))
        if exchange.plan.replicas > 1:
            own = [pieces[block] for block in route.given[exchange.here.replica]]
            boxes = [[exchange.piece(block) for block in row] for row in route.given]
            for blocks, row in zip(route.given, exchange.to_replicas(own, boxes, like)):
                pieces.update(zip(blocks, row))
        for number, blocks in route.parts.items():
            parts = {exchange.piece(block): pieces[block] for block in blocks}
            self.requests[number].apply(_put_together(exchange.held(number), parts, like))


def _put_together(box: Box, pieces: dict[Box, Tensor], like: Tensor) -> Tensor:
    if box in pieces:
        return pieces[box]
    whole = like.new_empty(shape_of(box))
    for own, piece in pieces.items():
        part(whole, box, own).copy_(piece)
    return whole


def rounds_of(requests: Iterable[tuple[Request, torch.dtype, torch.dtype]]) -> list[Round]:
    """Rounds of requests, each given with the dtypes that its direction and its update travel in."""
    rounds: dict[tuple[int, torch.dtype, torch.dtype, torch.device], Round] = {}
    for request, travels, returns in requests:
        end, exchange = request.direction.end, request.share.exchange
        key = id(exchange), travels, returns, end.device
        if key not in rounds:
            rounds[key] = Round(exchange, end.new_empty(0, dtype=travels), end.new_empty(0, dtype=returns))
        rounds[key].requests[request.share.number] = request
    return list(rounds.values())
