"""A step of weights whose blocks travel together: gradients to the owners of blocks, directions back."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor

from ..._iteration.precision import accumulation_dtype
from .._shared.exchange import Exchange
from .._shared.routes import Route
from .._shared.shares import Unit
from .grafting import grafted
from .state import Group, Part, corrections_of, has_started


class Entry(NamedTuple):
    """A weight of a round, with what is at hand of its gradient here."""

    group: Group
    weight: Tensor
    state: dict[str, Any]
    gradient: Tensor


class Round:
    """Weights of one exchange whose gradients have one dtype and device."""

    def __init__(self, exchange: Exchange, gradient: Tensor):
        self._exchange = exchange
        self._like = gradient.new_empty(0)
        self.entries: dict[int, Entry] = {}
        # Of the blocks that are this process's.
        self.parts: dict[Unit, Part] = {}

    def _local(self, member: int) -> Tensor:
        return self.entries[member].gradient.reshape(self._exchange.shard_shape(member))

    def collect(self) -> None:
        """Bring the gradients to the owners of their blocks."""
        route = self._exchange.route(self.entries)
        corrections: dict[int, tuple[Tensor, Tensor]] = {}
        for unit, arrived in self._exchange.collect(route, self._local, self._like):
            entry = self.entries[unit.member]
            gradient = self._exchange.local_piece(self._local, unit) if arrived is None else arrived
            kept = accumulation_dtype(entry.weight.dtype)
            if unit.member not in corrections:
                corrections[unit.member] = corrections_of(entry.group, entry.state, kept)
            corrected = corrections[unit.member]
            part = Part(entry.group, entry.state, unit.number, gradient, kept, corrected)
            part.prepare(gradient)
            self.parts[unit] = part

    def directions(self) -> Iterator[tuple[Entry, Tensor]]:
        """Each weight with its direction, as far as it is at hand here."""
        # One weight at a time where nothing travels, which saves memory.
        together = [[member] for member in self.entries] if self._exchange.alone else [list(self.entries)]
        for members in together:
            yield from self._directions(self._exchange.route(members))

    def _directions(self, route: Route) -> Iterator[tuple[Entry, Tensor]]:
        like = self._like.to(accumulation_dtype(self._like.dtype))
        found: dict[Unit, Tensor] = {}
        plain: dict[Unit, Tensor] = {}
        grafting = [unit for unit in route.units if _is_grafted(self.entries[unit.member].group)]
        for unit in route.mine:
            part = self.parts[unit]
            mean = part.mean()
            found[unit] = part.preconditioned(mean) if has_started(part.group) else part.plain(mean)
            if _is_grafted(part.group):
                plain[unit] = part.plain(mean)
        found.update(grafted(self._exchange, grafting, found, plain, like))
        for member, direction in self._exchange.distribute(route, found, like):
            entry = self.entries[member]
            yield entry, direction.reshape(entry.gradient.shape)


def _is_grafted(group: Group) -> bool:
    return has_started(group) and group["grafting"] != "none"
