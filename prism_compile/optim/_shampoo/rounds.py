"""A step of weights whose blocks travel together: gradients to the owners of blocks, directions back."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from ..._iteration.precision import accumulation_dtype
from .._shared.exchange import Exchange
from .._shared.shares import Unit
from .grafting import grafted
from .state import Group, Part


class Round:
    """Weights of one exchange whose gradients have one dtype and device."""

    def __init__(self, exchange: Exchange, gradient: Tensor):
        self._exchange = exchange
        self._like = gradient.new_empty(0)
        self._weights: dict[int, Tensor] = {}
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._gradients: dict[int, Tensor] = {}
        self._states: dict[int, dict[str, Any]] = {}
        self._units: list[Unit] = []
        # Of the blocks that are this process's.
        self.parts: dict[Unit, Part] = {}

    def add(self, member: int, weight: Tensor, gradient: Tensor, state: dict[str, Any]) -> None:
        """Add a weight; `gradient`: what is at hand of it."""
        self._weights[member], self._states[member] = weight, state
        self._shapes[member] = tuple(gradient.shape)
        form = self._exchange.shard_shape(member)
        self._gradients[member] = gradient.reshape(form)

    def collect(self, group: Group) -> None:
        """Bring the gradients to the owners of their blocks."""
        self._units = self._exchange.units(self._weights)
        for unit, arrived in self._exchange.collect(self._units, self._gradients.__getitem__, self._like):
            if arrived is None:
                arrived = self._exchange.local_piece(self._gradients.__getitem__, unit)
            kept = accumulation_dtype(self._weights[unit.member].dtype)
            part = Part(self._states[unit.member], unit.number, arrived.to(kept))
            part.prepare(group, part.gradient)
            self.parts[unit] = part

    def directions(self, group: Group, started: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """Each weight with its direction, as far as it is at hand here."""
        like = self._like.to(accumulation_dtype(self._like.dtype))
        found = {unit: part.plain(group) for unit, part in self.parts.items()}
        if started:
            plain = found
            found = {unit: part.preconditioned(group) for unit, part in self.parts.items()}
            if group["grafting"] != "none":
                found = grafted(self._exchange, self._units, found, plain, like)
        for member, direction in self._exchange.distribute(self._units, found, like):
            yield self._weights[member], direction.reshape(self._shapes[member])
