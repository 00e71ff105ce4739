"""Pieces of parameters between processes: to the owner of each unit and back to all who hold a part.

Of a grid of replicas times shards a unit is solved by one process. One all-to-all among the shards of its
replica brings it the pieces that it lacks, another takes the result's pieces back, and one all-gather among
the replicas spreads what each has solved. Every process must call with the same members.
"""

from collections.abc import Callable, Collection, Iterator

from torch import Tensor

from .boxes import Box, corner_of, part, shape_of
from .collectives import all_gather, all_to_all
from .layout import Layout
from .routes import Route
from .shares import Place, Plan, Unit

# Sets of members, by which gradients are there, whose routes are kept.
_KEPT_ROUTES = 8


class Exchange:
    """The traffic of a plan, as one process sees it.

    layout: whose groups the plan's grid is of; with `shares_replicas=False` each replica works for itself.
    """

    def __init__(self, layout: Layout, shares_replicas: bool = True):
        self._replicas = layout.replicas if shares_replicas else None
        self._shards = layout.shards
        replicas, shards = layout.sizes()
        replica, shard = layout.place()
        self.plan = Plan(replicas if shares_replicas else 1, shards)
        self.here = Place(replica if shares_replicas else 0, shard)
        self._routes: dict[tuple[int, ...], Route] = {}
        self._held: dict[int, Box] = {}

    @property
    def alone(self) -> bool:
        """Whether nothing is ever sent."""
        return self.plan.replicas * self.plan.shards == 1

    def route(self, members: Collection[int]) -> Route:
        """Where the units of some members travel."""
        key = tuple(members)
        if len(key) == 1:
            return Route(self.plan, self.here, key)
        if key not in self._routes:
            if len(self._routes) == _KEPT_ROUTES:
                self._routes.clear()
            self._routes[key] = Route(self.plan, self.here, key)
        return self._routes[key]

    def held(self, member: int) -> Box:
        """What this process holds of a member."""
        if member not in self._held:
            self._held[member] = self.plan.members[member].shard_box(self.here.shard)
        return self._held[member]

    def shard_shape(self, member: int) -> tuple[int, ...]:
        """The shape, in a member's form, of what this process holds of it."""
        return shape_of(self.held(member))

    def local_piece(self, local: Callable[[int], Tensor], unit: Unit) -> Tensor:
        """The view of what this process holds of a unit."""
        held = self.held(unit.member)
        if unit.box == held:
            return local(unit.member)
        return part(local(unit.member), self.plan.piece(unit, self.here.shard), corner_of(held))

    def collect(
        self, route: Route, local: Callable[[int], Tensor], like: Tensor
    ) -> Iterator[tuple[Unit, Tensor | None]]:
        """Each of the units that this process owns, put together; None for one that is here whole.

        local: what this process holds of a member, in the member's form; asked for only where a piece of it
        travels. like: of the dtype and device that travel.
        """
        arrived: dict[Unit, dict[int, Tensor]] = {}
        if route.moving:
            outgoing = [[self.local_piece(local, u).to(like.dtype) for u in row] for row in route.lent]
            sizes = self._sizes(route.borrowed)
            for shard, row in enumerate(all_to_all(outgoing, sizes, like, self._shards)):
                for unit, piece in zip(route.borrowed[shard], row):
                    arrived.setdefault(unit, {})[shard] = piece
        for unit in route.mine:
            if unit.is_local:
                yield unit, None
            else:
                pieces = arrived.pop(unit, {})
                if self.here.shard in unit.holders:
                    pieces[self.here.shard] = self.local_piece(local, unit)
                yield unit, self._put_together(unit, pieces, like)

    def _sizes(self, rows: list[list[Unit]], here: bool = False) -> list[list[int]]:
        """The sizes of units' pieces at the shard of each row, or of those that are here."""
        return [
            [self.plan.piece_size(unit, self.here.shard if here else shard) for unit in row]
            for shard, row in enumerate(rows)
        ]

    def _put_together(self, unit: Unit, pieces: dict[int, Tensor], like: Tensor) -> Tensor:
        whole = like.new_empty(shape_of(unit.box))
        for shard, piece in pieces.items():
            target = part(whole, self.plan.piece(unit, shard), corner_of(unit.box))
            target.copy_(piece.view(target.shape))
        return whole

    def distribute(
        self, route: Route, results: dict[Unit, Tensor], like: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        """What each member's shard here has of the results, which are given of the units owned here."""
        pieces = self._returned(route, results, like)
        if self.plan.replicas > 1:
            sizes = self._sizes(route.given, here=True)
            own = [pieces[unit] for unit in route.given[self.here.replica]]
            for units, row in zip(route.given, all_gather(own, sizes, like, self._replicas)):
                pieces.update(zip(units, row))
        for member, units in route.parts.items():
            box = self.held(member)
            if len(units) == 1:
                yield member, pieces[units[0]].reshape(shape_of(box))
                continue
            shard = like.new_empty(shape_of(box))
            for unit in units:
                target = part(shard, self.plan.piece(unit, self.here.shard), corner_of(box))
                target.copy_(pieces[unit].view(target.shape))
            yield member, shard

    def _returned(self, route: Route, results: dict[Unit, Tensor], like: Tensor) -> dict[Unit, Tensor]:
        """The pieces here of what this replica has solved, by one all-to-all."""

        def piece_of(unit: Unit, shard: int) -> Tensor:
            if unit.is_local:
                return results[unit]
            return part(results[unit], self.plan.piece(unit, shard), corner_of(unit.box))

        pieces = {unit: piece_of(unit, self.here.shard) for unit in route.mine}
        if route.moving:
            outgoing = [[piece_of(unit, r) for unit in row] for r, row in enumerate(route.borrowed)]
            sizes = self._sizes(route.lent, here=True)
            for row, arrived in zip(route.lent, all_to_all(outgoing, sizes, like, self._shards)):
                pieces.update(zip(row, arrived))
        return pieces

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes of the grid, written to `values`."""
        import torch.distributed as dist

        for group, size in ((self._shards, self.plan.shards), (self._replicas, self.plan.replicas)):
            if size > 1:
                dist.all_reduce(values, group=group)
        return values
