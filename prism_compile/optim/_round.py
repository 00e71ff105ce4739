"""A round of a step: what parameters ask for goes to the owners of their blocks, and their updates return."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._plan import Block, Box, Plan, part, shape_of
from ._processes import Layout, bring_together, exchange

# How parameters of one shape are cut into blocks. Cuts that are equal cut alike; `suits(dim)` tells whether
# shards along `dim` > 0 can be put together, `plan(dim, ranks)` makes the plan for (replicas, shards).
Cut = Any
# A parameter by its name, how it lies and how it is cut.
Wanted = tuple[Hashable, Layout, Cut]


class Share(NamedTuple):
    """Where a parameter stands: its plan, its number there, how it lies, and how it is cut."""

    plan: Plan
    number: int
    layout: Layout
    cut: Cut


class Shares:
    """The shares of parameters, in one plan for all that the same groups of processes share.

    keeps: whether parameters keep their shares however they are to be cut now, and where others are gone,
    for state belongs to their blocks. shares_replicas: see `Layout.empty_plan`.
    """

    def __init__(self, keeps: bool, shares_replicas: bool = True):
        self._keeps, self._shares_replicas = keeps, shares_replicas
        self._plans: dict[Any, Plan] = {}
        self._shares: dict[Hashable, Share] = {}

    def __getitem__(self, name: Hashable) -> Share:
        return self._shares[name]

    def share_out(self, wanted: Iterable[Wanted]) -> None:
        """Give the blocks of parameters, in the same order on every process, to ranks.

        Parameters that are known keep their owners, and those that are not wanted any more are forgotten.
        """
        suited = {
            name: (layout if not layout.dim or cut.suits(layout.dim) else layout.whole(), cut)
            for name, layout, cut in wanted
        }
        known = {name: own for name, own in self._shares.items() if name in suited}
        changed = len(known) < len(self._shares) or any(
            own[2:] != suited[name] for name, own in known.items()
        )
        if changed and not self._keeps:
            self._plans, known = {}, {}
        self._shares = known
        new: dict[Any, list[Wanted]] = {}
        for name, (layout, cut) in suited.items():
            if name not in known:
                new.setdefault((layout.replicas, layout.shards), []).append((name, layout, cut))
        for groups, added in new.items():
            if groups not in self._plans:
                self._plans[groups] = added[0][1].empty_plan(self._shares_replicas)
            plan, first = self._plans[groups], len(self._plans[groups].parameters)
            plan.add([cut.plan(layout.dim, (plan.replicas, plan.shards)) for _, layout, cut in added])
            for number, (name, layout, cut) in enumerate(added, first):
                self._shares[name] = Share(plan, number, layout, cut)


class Request(NamedTuple):
    """What a step asks for one parameter.

    What travels to the owners of its blocks is lerp(start, end, weight), or just `end`: of either the part
    that this process works on. apply: takes that part of the update. details: what the optimizer must know of
    the parameter to solve its blocks.
    """

    share: Share
    apply: Callable[[Tensor], None]
    details: Any
    end: Tensor
    start: Tensor | None = None
    weight: float = 1.0

    def direction(self) -> Tensor:
        return self.end if self.start is None else self.start.lerp(self.end, self.weight)

    def write(self, slot: Tensor, read: Callable[[Tensor], Tensor]) -> None:
        """Write what `read` makes of it to a slot, with no copy in between where dtypes agree."""
        if self.start is None or slot.dtype != self.end.dtype:
            slot.copy_(read(self.direction()))
        else:
            torch.lerp(read(self.start), read(self.end), self.weight, out=slot)


class Round:
    """Requests that travel together: of one plan, one device and one pair of dtypes.

    Of a grid of replicas times shards one rank solves a block. One all-to-all among the shards of its replica
    brings it the pieces that it lacks, another takes the update's pieces back, and one all-gather among the
    replicas spreads what each has solved. travels, returns: empty tensors of the dtypes that directions and
    updates travel in.
    """

    def __init__(self, plan: Plan, travels: Tensor, returns: Tensor):
        self.plan, self.travels, self.returns = plan, travels, returns
        self.requests: dict[int, Request] = {}
        self._directions: dict[int, Tensor] = {}
        self._updates: dict[Block, Tensor] = {}

    def piece(self, block: Block, tensor: Tensor) -> Tensor:
        """The view of a block in a tensor that is, like its request's direction, this process's part."""
        held = self.plan.held(block.parameter)
        tensor = tensor.reshape(shape_of(held))
        return tensor if block.box == held else part(tensor, held, self.plan.piece(block))

    def _own_piece(self, block: Block) -> Tensor:
        number = block.parameter
        # A parameter of several blocks is cut more than once.
        if number not in self._directions:
            self._directions[number] = self.requests[number].direction()
        return self.piece(block, self._directions[number])

    def collect(self) -> Iterator[tuple[Block, Tensor | None]]:
        """The blocks that this rank owns, each put together; None for one that is here whole."""
        plan, route = self.plan, self.plan.route(self.requests)
        arrived: dict[Block, dict[Box, Tensor]] = {}
        if route.moves:
            outgoing = [
                [self._own_piece(block).to(self.travels.dtype) for block in row] for row in route.lent
            ]
            boxes = [[plan.piece(block, r) for block in row] for r, row in enumerate(route.borrowed)]
            rows = exchange(outgoing, boxes, self.travels, plan.groups[1])
            for blocks, own, pieces in zip(route.borrowed, boxes, rows):
                for block, box, piece in zip(blocks, own, pieces):
                    arrived.setdefault(block, {})[box] = piece
        for block in route.owned:
            if block.is_local:
                yield block, None
                continue
            parts = arrived.pop(block, {})
            if plan.here.shard in block.holders:
                parts[plan.piece(block)] = self._own_piece(block)
            yield block, _put_together(block.box, parts, self.travels)

    def give(self, block: Block, update: Tensor) -> None:
        """Take the update of a block; where nothing travels a parameter's is applied with its last block."""
        blocks = self.plan.blocks[block.parameter]
        if self.plan.is_alone and len(blocks) == 1:
            self._apply(block.parameter, update)
            return
        # A CUDA graph writes its next results over these.
        self._updates[block] = update.clone()
        if self.plan.is_alone and all(own in self._updates for own in blocks):
            self.distribute([block.parameter], {own: self._updates.pop(own) for own in blocks})

    def finish(self) -> None:
        """Apply what was given and is not applied yet."""
        if not self.plan.is_alone:
            self.distribute(self.requests, self._updates)

    def portions(self) -> list[list[int]]:
        """The requests to distribute at once: one where nothing travels, which saves memory, or all."""
        return [[number] for number in self.requests] if self.plan.is_alone else [list(self.requests)]

    def distribute(self, numbers: Iterable[int], updates: dict[Block, Tensor]) -> None:
        """Apply the updates of some parameters, of which this process has those of the blocks it owns."""
        plan, route, like = self.plan, self.plan.route(numbers), self.returns

        def returned(block: Block, shard: int) -> Tensor:
            if block.is_local:
                return updates[block]
            return part(updates[block], block.box, plan.piece(block, shard))

        pieces = {block: returned(block, plan.here.shard) for block in route.owned}
        if route.moves:
            outgoing = [[returned(block, r) for block in row] for r, row in enumerate(route.borrowed)]
            boxes = [[plan.piece(block) for block in row] for row in route.lent]
            for blocks, row in zip(route.lent, exchange(outgoing, boxes, like, plan.groups[1])):
                pieces.update(zip(blocks, row))
        if plan.replicas > 1:
            own = [pieces[block] for block in route.given[plan.here.replica]]
            boxes = [[plan.piece(block) for block in row] for row in route.given]
            for blocks, row in zip(route.given, bring_together(own, boxes, like, plan.groups[0])):
                pieces.update(zip(blocks, row))
        for number, blocks in route.parts.items():
            parts = {plan.piece(block): pieces[block] for block in blocks}
            self._apply(number, _put_together(plan.held(number), parts, like))

    def _apply(self, number: int, update: Tensor) -> None:
        request = self.requests[number]
        request.apply(update.reshape(request.end.shape))


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
        end, plan = request.end, request.share.plan
        key = id(plan), travels, returns, end.device
        if key not in rounds:
            rounds[key] = Round(plan, end.new_empty(0, dtype=travels), end.new_empty(0, dtype=returns))
        rounds[key].requests[request.share.number] = request
    return list(rounds.values())
