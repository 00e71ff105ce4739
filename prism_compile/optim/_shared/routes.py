"""Where the units of some members travel, as one process sees it; found once and kept."""

from collections.abc import Collection

from .shares import Place, Plan, Unit


class Route:
    """The traffic of some members of a plan at the process `here`.

    mine: the units that it owns. Among the shards of its replica: lent[r], those that shard r owns and of
    which a piece is here; borrowed[r], those owned here of which shard r holds a piece. moving: whether any
    of its replica's units travels, which all of its shards see alike. Among the replicas: given[r], those
    that replica r owns and of which a piece is here. parts: by member, the units with a piece here.
    """

    def __init__(self, plan: Plan, here: Place, members: Collection[int]):
        self.units = [unit for member in members for unit in plan.units[member]]
        self.mine = [unit for unit in self.units if unit.owner == here]
        self.moving = False
        self.lent: list[list[Unit]] = [[] for _ in range(plan.shards)]
        self.borrowed: list[list[Unit]] = [[] for _ in range(plan.shards)]
        self.given: list[list[Unit]] = [[] for _ in range(plan.replicas)]
        self.parts: dict[int, list[Unit]] = {}
        for unit in self.units:
            self._enter(unit, here)

    def _enter(self, unit: Unit, here: Place) -> None:
        is_here = here.shard in unit.holders
        if is_here:
            self.given[unit.owner.replica].append(unit)
            self.parts.setdefault(unit.member, []).append(unit)
        if unit.is_local or unit.owner.replica != here.replica:
            return
        self.moving = True
        if unit.owner == here:
            for shard in unit.holders:
                if shard != here.shard:
                    self.borrowed[shard].append(unit)
        elif is_here:
            self.lent[unit.owner.shard].append(unit)
