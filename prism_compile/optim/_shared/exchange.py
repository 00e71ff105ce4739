"""Pieces of parameters between processes: to the owner of each unit and back to all who hold a part.

Of a grid of replicas times shards a unit is solved by one process. One all-to-all among the shards of its
replica brings it the pieces that it lacks, another takes the result's pieces back, and one all-gather among
the replicas spreads what each has solved. Every process must call with the same members.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor

from .boxes import corner_of, part, shape_of
from .layout import Layout
from .shares import Place, Plan, Unit


def _joined(tensors: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors]) if tensors else like.new_empty(0)


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

    @property
    def alone(self) -> bool:
        """Whether nothing is ever sent."""
        return self.plan.replicas * self.plan.shards == 1

    def units(self, members: Collection[int]) -> list[Unit]:
        """The units of some members, for all processes."""
        chosen = set(members)
        return [unit for unit in self.plan.units if unit.member in chosen]

    def shard_shape(self, member: int) -> tuple[int, ...]:
        """The shape, in a member's form, of what this process holds of it."""
        return shape_of(self.plan.members[member].shard_box(self.here.shard))

    @staticmethod
    def by_member(units: list[Unit]) -> dict[int, list[Unit]]:
        """The units of each member."""
        found: dict[int, list[Unit]] = {}
        for unit in units:
            found.setdefault(unit.member, []).append(unit)
        return found

    def owns(self, unit: Unit) -> bool:
        """Whether a unit is this process's."""
        return unit.owner == self.here

    def _travels(self, unit: Unit) -> bool:
        """Whether the shards of this replica send pieces of it to each other."""
        return unit.owner.replica == self.here.replica and not unit.is_local

    def collect(
        self, units: list[Unit], local: Callable[[int], Tensor], like: Tensor
    ) -> Iterator[tuple[Unit, Tensor | None]]:
        """Each of the units that this process owns, put together; None for one that is here whole.

        local: what this process holds of a member, in the member's form; asked for only where a piece of it
        travels. like: of the dtype and device that travel.
        """
        plan, me = self.plan, self.here.shard
        moving = [unit for unit in units if self._travels(unit)]
        theirs = [[u for u in moving if u.owner.shard == r != me] for r in range(plan.shards)]
        outgoing = [[self.local_piece(local, unit).to(like.dtype) for unit in row] for row in theirs]
        mine = [unit for unit in moving if self.owns(unit)]
        sizes = [[plan.piece_size(unit, r) for unit in mine] if r != me else [] for r in range(plan.shards)]
        arrived = self._among_shards(outgoing, sizes, like) if moving else []
        numbers = {unit: i for i, unit in enumerate(mine)}
        for unit in filter(self.owns, units):
            if unit.is_local:
                yield unit, None
            else:
                pieces = [row[numbers[unit]] if row else None for row in arrived]
                yield unit, self._put_together(unit, pieces, local, like)

    def local_piece(self, local: Callable[[int], Tensor], unit: Unit) -> Tensor:
        """The view of what this process holds of a unit."""
        corner = corner_of(self.plan.members[unit.member].shard_box(self.here.shard))
        return part(local(unit.member), self.plan.piece(unit, self.here.shard), corner)

    def _put_together(
        self, unit: Unit, pieces: list[Tensor | None], local: Callable[[int], Tensor], like: Tensor
    ) -> Tensor:
        whole = like.new_empty(shape_of(unit.box))
        for shard, piece in enumerate(pieces):
            box = self.plan.piece(unit, shard)
            target = part(whole, box, corner_of(unit.box))
            target.copy_(self.local_piece(local, unit) if piece is None else piece.view(target.shape))
        return whole

    def _among_shards(
        self, outgoing: list[list[Tensor]], sizes: list[list[int]], like: Tensor
    ) -> list[list[Tensor]]:
        """Send `outgoing[r]` to shard r; receive from each r flat tensors of `sizes[r]`."""
        import torch.distributed as dist

        sent = _joined([tensor for row in outgoing for tensor in row], like)
        received = like.new_empty(sum(map(sum, sizes)))
        counts = [sum(row) for row in sizes], [sum(tensor.numel() for tensor in row) for row in outgoing]
        dist.all_to_all_single(received, sent, *counts, group=self._shards)
        parts = iter(received.split([size for row in sizes for size in row]))
        return [[next(parts) for _ in row] for row in sizes]

    def distribute(
        self, units: list[Unit], results: dict[Unit, Tensor], like: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        """What each member's shard here has of the results, which are given of the units owned here."""
        pieces = self._returned(units, results, like)
        if self.plan.replicas > 1:
            pieces = self._among_replicas(units, pieces, like)
        for number, own in self.by_member(units).items():
            box = self.plan.members[number].shard_box(self.here.shard)
            shape = shape_of(box)
            if len(own) == 1:
                yield number, pieces[own[0]].reshape(shape)
                continue
            shard = like.new_empty(shape)
            for unit in own:
                target = part(shard, self.plan.piece(unit, self.here.shard), corner_of(box))
                target.copy_(pieces[unit].reshape(target.shape))
            yield number, shard

    def _returned(self, units: list[Unit], results: dict[Unit, Tensor], like: Tensor) -> dict[Unit, Tensor]:
        """The pieces here of what this replica has solved, by one all-to-all."""
        plan, me = self.plan, self.here.shard
        moving = [unit for unit in units if self._travels(unit)]
        mine = [unit for unit in moving if self.owns(unit)]

        def piece_of(unit: Unit, shard: int) -> Tensor:
            return part(results[unit], plan.piece(unit, shard), corner_of(unit.box))

        pieces = {unit: piece_of(unit, me) for unit in units if self.owns(unit)}
        # What another shard owns alone, the piece here is empty.
        empty = like.new_empty(0)
        own_replica = [unit for unit in units if unit.owner.replica == self.here.replica]
        pieces.update((unit, empty) for unit in own_replica if unit not in pieces)
        if moving:
            outgoing = [[piece_of(unit, r) for unit in mine] if r != me else [] for r in range(plan.shards)]
            theirs = [[u for u in moving if u.owner.shard == r != me] for r in range(plan.shards)]
            sizes = [[plan.piece_size(unit, me) for unit in row] for row in theirs]
            for row, arrived in zip(theirs, self._among_shards(outgoing, sizes, like)):
                pieces.update(zip(row, arrived))
        return pieces

    def _among_replicas(
        self, units: list[Unit], pieces: dict[Unit, Tensor], like: Tensor
    ) -> dict[Unit, Tensor]:
        """The pieces here of what every replica has solved, by one all-gather."""
        me = self.here.shard
        shares = [[unit for unit in units if unit.owner.replica == r] for r in range(self.plan.replicas)]
        sizes = [[self.plan.piece_size(unit, me) for unit in share] for share in shares]
        own = [pieces[unit] for unit in shares[self.here.replica]]
        rows = all_gather(own, sizes, like, self._replicas)
        return {unit: piece for share, row in zip(shares, rows) for unit, piece in zip(share, row)}

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes of the grid, written to `values`."""
        import torch.distributed as dist

        for group, size in ((self._shards, self.plan.shards), (self._replicas, self.plan.replicas)):
            if size > 1:
                dist.all_reduce(values, group=group)
        return values


def all_gather(
    own: list[Tensor], sizes: list[list[int]], like: Tensor, group: "torch.distributed.ProcessGroup | None"
) -> list[list[Tensor]]:
    """Flat tensors of `sizes[r]` from each process r of a group, of which `own` are this one's.

    By one all-gather of the largest share's size, as not every backend gathers unequal ones.
    """
    import torch.distributed as dist

    largest = max(map(sum, sizes))
    if not largest:
        return [[like.new_empty(0) for _ in row] for row in sizes]
    sent = like.new_empty(largest)
    flat = _joined(own, like)
    sent[: flat.numel()] = flat
    received = like.new_empty(len(sizes) * largest)
    dist.all_gather_into_tensor(received, sent, group=group)
    return [
        list(chunk[: sum(row)].split(row)) if row else []
        for row, chunk in zip(sizes, received.split(largest))
    ]
