"""Batched polar factors of many matrices, compiled once for each size of batch."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ... import polar
from ..._iteration.scaling import magnitude, nonzero
from .graphs import compiled_apart
from .settings import Settings

# More entries than this (1 GiB in float32) are solved in several batches: such matrices fill a device by
# themselves, and the batch is a copy.
_LARGEST_BATCH = 2**28


class Kind(NamedTuple):
    """What matrices of one batch have in common; `dtype` is that of the batch."""

    settings: Settings
    tall: tuple[int, int]
    dtype: torch.dtype
    device: torch.device


def batch_dtype(dtype: torch.dtype, settings: Settings) -> torch.dtype:
    """The dtype that gradients of a dtype are stacked and sent in.

    bfloat16 has the range of float32: what a solve would round to it may be rounded at once.
    """
    if settings.dtype is torch.bfloat16 and dtype is torch.float32:
        return torch.bfloat16
    return dtype


def result_dtype(dtype: torch.dtype, settings: Settings) -> torch.dtype:
    """The dtype of their polar factors."""
    return settings.dtype or dtype


class Source(NamedTuple):
    """`count` matrices that `write(slot [count, *tall])` supplies."""

    count: int  # type: ignore[assignment]  # not tuple's
    write: Callable[[Tensor], None]


def _solve(batch: Tensor, settings: Settings) -> Tensor:
    if settings.dtype not in (None, batch.dtype):
        # Rounding to half precision must not lose the direction of a matrix of small entries.
        batch = (batch / nonzero(magnitude(batch))).to(settings.dtype)
    return polar(
        batch,
        steps=settings.steps,
        degree=settings.degree,
        rule=settings.rule,
        sketch_size=settings.sketch_size,
        seed=settings.seed,
    )


def _in_batches(kind: Kind, sources: list[Source]) -> Iterator[list[Source]]:
    """Split sources into as few batches as `_LARGEST_BATCH` allows, of about equal size."""
    total = sum(source.count for source in sources)
    if not total:
        return
    capacity = max(_LARGEST_BATCH // (kind.tall[0] * kind.tall[1]), 1)
    target = -(-total // -(-total // capacity))
    batch: list[Source] = []
    filled = 0
    for source in sources:
        if batch and filled + source.count > target:
            yield batch
            batch, filled = [], 0
        batch.append(source)
        filled += source.count
    yield batch


class BatchSolver:
    """Polar factors in batches, by graphs that belong to this object.

    options: what `torch.compile` is called with; None runs eagerly.
    """

    def __init__(self, options: dict[str, Any] | None):
        self._options = options
        self._compiled: dict[Kind, dict[int, Callable[..., Tensor]]] = {}

    def __call__(self, kind: Kind, sources: Iterable[Source]) -> Iterator[Tensor]:
        """The polar factors `[count, *tall]` of each source in turn, batch by batch."""
        for batch in _in_batches(kind, list(sources)):
            counts = [source.count for source in batch]
            size, solve = self._solver(kind, sum(counts))
            slots = torch.empty(size, *kind.tall, dtype=kind.dtype, device=kind.device)
            slots[sum(counts) :].zero_()
            for source, slot in zip(batch, slots.split([*counts, size - sum(counts)])):
                source.write(slot)
            stacks = solve(slots, kind.settings)[: sum(counts)].split(counts)
            # By number, for of a tuple's iterator in a generator Dynamo of torch 2.15 knows no end.
            for i in range(len(counts)):
                yield stacks[i]

    def _solver(self, kind: Kind, size: int) -> tuple[int, Callable[..., Tensor]]:
        """A solver and the batch it takes: `size`, or up to twice that where such a graph is at hand.

        The number of matrices varies where gradients are missing now and then; zero matrices fill the
        batch, lest there be a graph for each number.
        """
        # A caller's graph takes the solve in.
        if self._options is None or torch.compiler.is_compiling():
            return size, _solve
        graphs = self._compiled.setdefault(kind, {})
        fitting = [known for known in graphs if size <= known <= 2 * size]
        if not fitting:
            graphs[size] = compiled_apart(_solve, self._options)
            fitting = [size]
        return min(fitting), graphs[min(fitting)]
