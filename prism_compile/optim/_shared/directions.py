"""Directions of steps, orthogonalised together: in batches, and shared out over processes."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .batches import BatchSolver, Kind, Source, batch_dtype, result_dtype
from .exchange import Exchange
from .layout import Layout
from .matrices import Matrices, matrices_of, member_of
from .settings import Settings
from .shares import Unit


class Subject(NamedTuple):
    """A parameter as what is solved for it: its layout and its matrices."""

    layout: Layout
    matrices: Matrices
    flatten: bool


def subject_of(param: Tensor, layout: Layout, flatten: bool, heads: int) -> Subject:
    """How a parameter is orthogonalised; raises ValueError where its shape does not allow that."""
    return Subject(layout, matrices_of(param.shape, flatten, heads), flatten)


class Direction(NamedTuple):
    """What is to be orthogonalised, as far as this process has it: lerp(start, end, weight), or the end."""

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


class Job(NamedTuple):
    """The direction of one subject, its settings, and what takes the result for this process's part."""

    number: int
    settings: Settings
    direction: Direction
    apply: Callable[[Tensor], None]


class SharedSolver:
    """Polar factors of many parameters, each of which is solved by one process of those that share it."""

    def __init__(self, solve: BatchSolver):
        self._solve = solve
        self._subjects: tuple[Subject, ...] = ()
        # An exchange for the groups of each layout, and where a subject is in it.
        self._exchanges: dict[Layout, Exchange] = {}
        self._members: list[tuple[Exchange, int]] = []

    def share_out(self, subjects: Sequence[Subject]) -> None:
        """Make subjects known, in the same order on every process; those known before keep their share."""
        known = tuple(subjects)
        if known == self._subjects:
            return
        if known[: len(self._subjects)] != self._subjects:
            self._subjects, self._exchanges, self._members = (), {}, []
        new: dict[Layout, list[Subject]] = {}
        first: dict[Layout, int] = {}
        for subject in known[len(self._subjects) :]:
            groups = subject.layout.groups()
            if groups not in self._exchanges:
                self._exchanges[groups] = Exchange(groups)
            exchange, own = self._exchanges[groups], new.setdefault(groups, [])
            first.setdefault(groups, len(exchange.plan.members))
            self._members.append((exchange, first[groups] + len(own)))
            own.append(subject)
        for groups, own in new.items():
            sizes = groups.sizes()
            self._exchanges[groups].plan.add(
                [member_of(each.matrices, each.layout.dim, sizes, each.flatten) for each in own]
            )
        self._subjects = known

    def __call__(self, jobs: Iterable[Job]) -> None:
        """Solve the jobs, whose numbers are those of subjects, the same on every process."""
        rounds: dict[tuple[int, torch.dtype, torch.dtype, torch.device], _Round] = {}
        sources: dict[Kind, list[tuple[Source, Callable[[Tensor], None]]]] = {}
        for job in jobs:
            exchange, member = self._members[job.number]
            end = job.direction.end
            travels, returns = batch_dtype(end.dtype, job.settings), result_dtype(end.dtype, job.settings)
            key = id(exchange), travels, returns, end.device
            if key not in rounds:
                rounds[key] = _Round(exchange, travels, returns, end.device)
            rounds[key].jobs[member] = job, self._subjects[job.number].matrices
        for own in rounds.values():
            own.collect(sources)
        for kind, entries in sources.items():
            for (_, take), stack in zip(entries, self._solve(kind, [source for source, _ in entries])):
                take(stack)
        for own in rounds.values():
            own.distribute()


class _Round:
    """The jobs of one exchange that travel in the same dtypes."""

    def __init__(self, exchange: Exchange, travels: torch.dtype, returns: torch.dtype, device: torch.device):
        self.exchange = exchange
        self.jobs: dict[int, tuple[Job, Matrices]] = {}
        self._travels = torch.empty(0, dtype=travels, device=device)
        self._returns = torch.empty(0, dtype=returns, device=device)
        self._results: dict[Unit, Tensor] = {}
        self._shards: dict[int, Tensor] = {}

    def collect(self, sources: dict[Kind, list[tuple[Source, Callable[[Tensor], None]]]]) -> None:
        """Add the units that this process solves."""
        route = self.exchange.route(self.jobs)
        for unit, whole in self.exchange.collect(route, self._local, self._travels):
            job, matrices = self.jobs[unit.member]
            own = matrices.within(unit.box)
            kind = Kind(job.settings, own.tall, self._travels.dtype, self._travels.device)
            source = Source(own.count, self._writer(unit, own, whole))
            sources.setdefault(kind, []).append((source, self._taker(unit, own)))

    def _local(self, member: int) -> Tensor:
        # A member of several units is cut more than once.
        if member not in self._shards:
            self._shards[member] = self._in_form(member, self.jobs[member][0].direction.tensor())
        return self._shards[member]

    def _in_form(self, member: int, tensor: Tensor) -> Tensor:
        """A shard in the form of its member."""
        return tensor.reshape(self.exchange.shard_shape(member))

    def _writer(self, unit: Unit, own: Matrices, whole: Tensor | None) -> Callable[[Tensor], None]:
        direction = self.jobs[unit.member][0].direction if whole is None else Direction(whole)

        def read(tensor: Tensor) -> Tensor:
            if whole is None:
                tensor = self.exchange.local_piece(lambda member: self._in_form(member, tensor), unit)
            return own.read(tensor)

        return lambda slot: direction.write(slot, read)

    def _taker(self, unit: Unit, own: Matrices) -> Callable[[Tensor], None]:
        def take(stack: Tensor) -> None:
            result = own.restore(stack)
            if self.exchange.alone:
                self.jobs[unit.member][0].apply(result)
            else:
                self._results[unit] = result

        return take

    def distribute(self) -> None:
        """Let every job take what this process has of its result."""
        if self.exchange.alone:
            return
        for member, shard in self.exchange.distribute(
            self.exchange.route(self.jobs), self._results, self._returns
        ):
            self.jobs[member][0].apply(shard)
