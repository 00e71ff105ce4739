"""A round of a step: what parameters ask for goes to the owners of their blocks, and their updates return."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._exchange import Exchange
from ._layout import Layout
from ._plan import Block

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
    """Requests that travel together: of one exchange, one device and one pair of dtypes."""

    def __init__(self, exchange: Exchange, travels: Tensor, returns: Tensor):
        self.exchange = exchange
        self.requests: dict[int, Request] = {}
        # Empty tensors of the dtypes that directions and updates travel in.
        self.travels, self.returns = travels, returns
        self._local: dict[int, Tensor] = {}
        self._updates: dict[Block, Tensor] = {}

    def collect(self) -> Iterator[tuple[Block, Tensor | None]]:
        """The blocks that this rank owns, each put together; None for one that is here whole."""
        yield from self.exchange.collect(self.exchange.route(self.requests), self._in_form, self.travels)

    def _in_form(self, number: int) -> Tensor:
        # A parameter of several blocks is cut more than once.
        if number not in self._local:
            self._local[number] = self.exchange.in_form(number, self.requests[number].direction.tensor())
        return self._local[number]

    def piece(self, block: Block, tensor: Tensor) -> Tensor:
        """The view of a block in a tensor that is, like its request's direction, this process's part."""
        return self.exchange.local_piece(lambda number: self.exchange.in_form(number, tensor), block)

    def give(self, block: Block, update: Tensor) -> None:
        """Take the update of a block; where nothing travels a parameter's is applied with its last block."""
        blocks = self.exchange.plan.blocks[block.parameter]
        if self.exchange.alone and len(blocks) == 1:
            self.distribute([block.parameter], {block: update})
            return
        # A CUDA graph writes its next results over these.
        self._updates[block] = update.clone()
        if self.exchange.alone and all(own in self._updates for own in blocks):
            self.distribute([block.parameter], {own: self._updates.pop(own) for own in blocks})

    def portions(self) -> list[list[int]]:
        """The numbers of requests that are applied together: single ones where nothing travels, which saves
        memory."""
        return [[number] for number in self.requests] if self.exchange.alone else [list(self.requests)]

    def finish(self) -> None:
        """Apply what was given and is not applied yet."""
        if not self.exchange.alone:
            self.distribute(self.requests, self._updates)

    def distribute(self, numbers: Iterable[int], updates: dict[Block, Tensor]) -> None:
        """Apply the updates of some parameters, of which this process has those of the blocks it owns."""
        route = self.exchange.route(numbers)
        for number, update in self.exchange.distribute(route, updates, self.returns):
            self.requests[number].apply(update)


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
