"""What each process of a grid sends and computes in a step, by the library's own plan and with no process."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from prism_compile.optim import Muon, Shampoo
from prism_compile.optim._exchange import is_padded
from prism_compile.optim._options import SolveOptions, solve, solve_options
from prism_compile.optim._plan import Block, Plan, largest_first, shape_of
from prism_compile.optim._polar import dtypes, matrix_cut
from prism_compile.optim._preconditioner import BlockCut
from prism_compile.optim._roots import RootOptions, inverse_roots, steps_for_factor

from .count import Counter, all_gather_bytes, all_reduce_bytes
from .lists import Scheme, Shape


class Traffic(NamedTuple):
    """Bytes that each process `[replicas, shards]` sends and receives, step by step, in one collective."""

    name: str
    sent: np.ndarray
    received: np.ndarray


@dataclass
class Work:
    """What each process does in a step, on the average over the steps between two sets of roots.

    flops, sent: `[replicas, shards]`. buffer: bytes that the largest all-gather brings to a process. units:
    the number of pieces of work. unshared: flops that all replicas do alike.
    """

    flops: np.ndarray
    traffic: list[Traffic] = field(default_factory=list)
    buffer: int = 0
    units: int = 0
    unshared: float = 0.0

    @property
    def sent(self) -> np.ndarray:
        return sum((part.sent for part in self.traffic), np.zeros(self.flops.shape))

    def send_seconds(self, rate: float) -> float:
        """Of one collective after another, each as long as its busiest process; rate: bytes per second."""
        return sum(max(part.sent.max(), part.received.max()) for part in self.traffic) / rate


def _flops_of(run: Callable[[], object]) -> int:
    with Counter() as counter:
        run()
    return counter.flops


def _options(optimizer: type, **options) -> dict:
    """An optimizer's options, its defaults among them."""
    return optimizer([torch.zeros(1, 1)], compile=False, **options).param_groups[0]


@cache
def _polar_flops(tall: Shape, options: SolveOptions, dtype: torch.dtype) -> int:
    return _flops_of(lambda: solve(torch.empty(1, *tall, dtype=dtype, device="meta"), options))


@cache
def _root_flops(n: int, p: int, eps: float, steps: int | None) -> int:
    steps = steps or steps_for_factor(p, eps, torch.float32)

    def empty(n: int) -> Tensor:
        return torch.empty(1, n, n, device="meta")

    return _flops_of(lambda: inverse_roots(empty(n), empty(1), RootOptions(p, eps, steps, "prism")))


def _units(plan: Plan) -> list[Block]:
    return list(chain.from_iterable(plan.blocks))


class _Pieces:
    """The number of entries that each shard holds of a unit, found once for units that lie alike."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._known: dict[tuple, np.ndarray] = {}

    def __call__(self, unit: Block) -> np.ndarray:
        own = self._plan.parameters[unit.parameter]
        key = own.shape, own.dim, unit.box[own.dim], prod(shape_of(unit.box))
        if key not in self._known:
            sizes = [prod(shape_of(self._plan.piece(unit, shard))) for shard in range(self._plan.shards)]
            self._known[key] = np.array(sizes)
        return self._known[key]


def _to_owners(plan: Plan, pieces: _Pieces) -> tuple[np.ndarray, np.ndarray]:
    """Entries that each process sends to owners of units among its shards, and those that it receives."""
    sent, received = np.zeros((2, plan.replicas, plan.shards), dtype=np.int64)
    for unit in _units(plan):
        if not unit.is_local:
            replica, shard = unit.owner
            sizes = pieces(unit)
            sent[replica] += sizes
            sent[unit.owner] -= sizes[shard]
            received[unit.owner] += sizes.sum() - sizes[shard]
    return sent, received


def _among_shards(plan: Plan, pieces: _Pieces, there: int, back: int) -> list[Traffic]:
    """The all-to-alls, of entries of `there` and `back` bytes."""
    if plan.shards == 1:
        return []
    sent, received = _to_owners(plan, pieces)
    return [
        Traffic("to owners", there * sent, there * received),
        Traffic("from owners", back * received, back * sent),
    ]


def _made_even(shares: np.ndarray, even: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entries that each process sends and receives for shares of them to become even, in the same order."""
    low = np.arange(len(shares))[:, None] * even
    totals, before = shares.sum(axis=0), shares.cumsum(axis=0) - shares
    kept = (np.minimum(before + shares, low + even) - np.maximum(before, low)).clip(0)
    return shares - kept, (totals - low).clip(0, even) - kept


def _gathered(name: str, shares: np.ndarray, itemsize: int, work: Work, every: int = 1) -> list[Traffic]:
    """The all-gather among replicas of shares `[replicas, shards]` of entries, each `every` so many steps.

    An all-to-all before makes shares even that the library would not pad.
    """
    replicas = len(shares)
    padded = np.array([is_padded(column) for column in shares.T.tolist()])
    even = -(-shares.sum(axis=0) // replicas)
    size = itemsize * np.where(padded, shares.max(axis=0), even)
    work.buffer = max(work.buffer, int(replicas * size.max()))
    evening = [np.where(padded, 0, moved) * itemsize / every for moved in _made_even(shares, even)]
    sent = np.tile(all_gather_bytes(replicas, size) / every, (replicas, 1))
    return [Traffic(f"{name}, made even", *evening), Traffic(name, sent, sent)]


def _among_replicas(plan: Plan, pieces: _Pieces, itemsize: int, work: Work) -> list[Traffic]:
    if plan.replicas == 1:
        return []
    shares = np.zeros((plan.replicas, plan.shards), dtype=np.int64)
    for unit in _units(plan):
        shares[unit.owner.replica] += pieces(unit)
    return _gathered("to replicas", shares, itemsize, work)


def muon_work(
    shapes: list[Shape], grid: tuple[int, int], like: torch.dtype = torch.float32, **options
) -> tuple[Plan, Work]:
    """Of Muon with parameters of dtype `like` whose shards are of rows."""
    solving = solve_options(_options(Muon, **options), "ns_steps")
    travels, returns = dtypes(like, solving)
    plan = Plan(*grid)
    plan.add([matrix_cut(shape, True, 1).plan(0, grid) for shape in shapes])
    flops = [_polar_flops((max(shape), min(shape)), solving, travels) for shape in shapes]
    work = Work(np.zeros(grid), units=len(_units(plan)))
    for unit in _units(plan):
        work.flops[unit.owner] += flops[unit.parameter]
    pieces = _Pieces(plan)
    work.traffic += _among_shards(plan, pieces, travels.itemsize, returns.itemsize)
    work.traffic += _among_replicas(plan, pieces, returns.itemsize, work)
    return plan, work


def _norms(plan: Plan, itemsize: int) -> list[Traffic]:
    """The two norms of each block of weights of several, put together for grafting."""
    of_member = np.bincount([unit.parameter for unit in _units(plan)])
    size = 2 * int(of_member[of_member > 1].sum()) * itemsize
    sent = sum(all_reduce_bytes(count, size) for count in (plan.replicas, plan.shards) if count > 1)
    each = np.full((plan.replicas, plan.shards), sent)
    return [Traffic("norms", each, each)] if sent else []


def shampoo_work(
    shapes: list[Shape],
    grid: tuple[int, int],
    shard_state: bool,
    like: torch.dtype = torch.float32,
    **options,
) -> tuple[Plan, Work]:
    """Of Shampoo with parameters of dtype `like`, at most float32, whose shards are of rows."""
    group = _options(Shampoo, **options)
    replicas, shards = grid
    frequency = group["precondition_frequency"]
    plan = Plan(replicas if shard_state else 1, shards)
    cuts = [BlockCut(tuple(s), group["max_preconditioner_dim"], frequency) for s in shapes]
    plan.add([cut.plan(0, (plan.replicas, shards)) for cut in cuts])
    work = Work(np.zeros(grid), units=len(_units(plan)))
    # In order, as roots are given to processes; one row for all replicas where each has every block.
    owned: list[list[Shape]] = [[] for _ in range(plan.replicas * shards)]
    for unit in _units(plan):
        m, n = shape_of(unit.box)
        replica, shard = unit.owner
        owned[replica * shards + shard].append((m, n))
        # Two products for the factors, two for the direction.
        work.flops[replica if shard_state else slice(None), shard] += 4 * m * n * (m + n)
    work.unshared = 0.0 if shard_state or replicas == 1 else work.flops.max()
    _add_roots(work, owned, group, grid, shared=not shard_state)
    kept = torch.float32.itemsize
    pieces = _Pieces(plan)
    work.traffic += _among_shards(plan, pieces, like.itemsize, kept) + _norms(plan, kept)
    work.traffic += _among_replicas(plan, pieces, kept, work)
    return plan, work


def _add_roots(
    work: Work, owned: list[list[Shape]], group: dict, grid: tuple[int, int], shared: bool
) -> None:
    """The roots of each process's blocks; `shared`: of each shard's blocks, by its replicas."""
    replicas, _ = grid
    frequency, options = group["precondition_frequency"], (group["p"], group["eps"], group["steps"])
    sizes = {n for blocks in owned for block in blocks for n in block}
    flops = {n: _root_flops(n, *options) / frequency for n in sizes}
    if not shared:
        work.flops += np.array([sum(flops[n] for b in own for n in b) for own in owned]).reshape(grid)
        return
    shares = np.zeros(grid, dtype=np.int64)
    for shard, blocks in enumerate(owned):
        factors = [n for block in blocks for n in block]
        for n, replica in zip(factors, largest_first([n**3 for n in factors], [0] * replicas)):
            work.flops[replica, shard] += flops[n]
            shares[replica, shard] += n * n
    if replicas > 1:
        work.units = sum(2 * len(blocks) for blocks in owned)
        work.traffic += _gathered("roots", shares, torch.float32.itemsize, work, frequency)


def work_of(scheme: Scheme, shapes: list[Shape], grid: tuple[int, int], options: dict) -> tuple[Plan, Work]:
    """Of a scheme's optimizer; options: by the optimizer's name."""
    own = options[scheme.optimizer]
    if scheme.optimizer == "Muon":
        return muon_work(shapes, grid, **own)
    return shampoo_work(shapes, grid, scheme.shard_state, **own)


def unshared_work(scheme: Scheme, shapes: list[Shape], grid: tuple[int, int], options: dict) -> Work:
    """Of a process that solves everything, shards having been gathered first in the dtype that travels."""
    _, alone = work_of(scheme, shapes, (1, 1), options)
    itemsize = 2 if scheme.optimizer == "Muon" else 4
    size = itemsize * sum(map(prod, shapes))
    sent = np.full((1, 1), all_gather_bytes(grid[1], size / grid[1]))
    alone.traffic = [Traffic("shards", sent, sent)]
    return alone
