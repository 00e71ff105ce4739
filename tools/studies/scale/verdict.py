"""The time of a step on an assumed machine, and where more processes stop paying."""

from dataclasses import dataclass
from math import log2
from time import perf_counter
from typing import NamedTuple

import numpy as np

from .lists import Scheme, Shape
from .model import Work, unshared_work, work_of

# More processes pay while twice as many take at least this part off a step.
WORTHWHILE = 0.1


class Machine(NamedTuple):
    """What a process is assumed to reach: flops per second by optimizer, bytes per second sent."""

    flops: dict[str, float]
    bytes: float

    def solve_seconds(self, scheme: Scheme, work: Work) -> float:
        return work.flops.max() / self.flops[scheme.optimizer]

    def step_seconds(self, scheme: Scheme, work: Work) -> float:
        """Products, then collectives, the busiest process for each."""
        return self.solve_seconds(scheme, work) + work.send_seconds(self.bytes)


@dataclass
class Scaling:
    """A scheme over numbers of processes: its work, that of a process which solves everything, times."""

    scheme: Scheme
    machine: Machine
    works: dict[int, Work]
    unshared: dict[int, Work]
    plan_seconds: float

    def seconds(self, world: int) -> float:
        return self.machine.step_seconds(self.scheme, self.works[world])

    def unshared_seconds(self, world: int) -> float:
        return self.machine.step_seconds(self.scheme, self.unshared[world])

    @property
    def best(self) -> int:
        return min(self.works, key=self.seconds)

    @property
    def stop(self) -> int | None:
        """The first number of processes of which no more are worthwhile, by their time at each doubling."""

        def pays(world: int, more: int) -> bool:
            return self.seconds(more) <= (1 - WORTHWHILE) ** log2(more / world) * self.seconds(world)

        worlds = sorted(self.works)
        for i, world in enumerate(worlds[:-1]):
            if not any(pays(world, more) for more in worlds[i + 1 :]):
                return world
        return None

    @property
    def limit(self) -> str:
        """What twice as many processes as at the stop run into."""
        if self.stop is None:
            return "-"
        work = self.works[2 * self.stop]
        if work.send_seconds(self.machine.bytes) >= self.machine.solve_seconds(self.scheme, work):
            return "sending"
        if 2 * work.unshared > work.flops.max():
            return "unshared work"
        return "idle" if 2 * self.stop > work.units else "largest unit"

    @property
    def loss(self) -> int | None:
        """The first number of processes from which on each may as well solve everything."""
        worlds = [world for world in sorted(self.works) if world > 1]
        lost = [self.seconds(world) >= self.unshared_seconds(world) for world in worlds]
        last_gain = max(np.flatnonzero(~np.array(lost)), default=-1)
        return worlds[last_gain + 1] if last_gain + 1 < len(worlds) else None


def scaling(
    scheme: Scheme, shapes: list[Shape], worlds: list[int], shards: int, options: dict, machine: Machine
) -> Scaling:
    """A scheme modelled for several numbers of processes."""
    works, unshared, seconds = {}, {}, 0.0
    for world in worlds:
        grid = scheme.grid(world, shards)
        start = perf_counter()
        _, works[world] = work_of(scheme, shapes, grid, options)
        seconds = perf_counter() - start
        unshared[world] = unshared_work(scheme, shapes, grid, options)
    return Scaling(scheme, machine, works, unshared, seconds)
