"""The matrices that a parameter stands for, and how they lie in it."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from torch import Tensor

from .boxes import Box, Span, chunk_spans, even_spans, shape_of
from .shares import Member


class Matrices(NamedTuple):
    """How a tensor of `shape` reads as `count` matrices `[m, n]`.

    Stacked for a solve they are tall: `[count, max(m, n), min(m, n)]`, so that a shape and its transpose
    share a batch. The polar factor of a transpose is the transpose of the polar factor.
    """

    shape: tuple[int, ...]
    count: int  # type: ignore[assignment]  # not tuple's
    m: int
    n: int

    @property
    def tall(self) -> tuple[int, int]:
        return max(self.m, self.n), min(self.m, self.n)

    def read(self, tensor: Tensor) -> Tensor:
        """A tensor of the shape as `[count, *tall]`; a view where strides allow."""
        stack = tensor.reshape(self.count, self.m, self.n)
        return stack.mT if self.m < self.n else stack

    def restore(self, stack: Tensor) -> Tensor:
        """`[count, *tall]` in the shape."""
        if self.m < self.n:
            stack = stack.mT
        return stack.reshape(self.shape)

    def within(self, box: Box) -> "Matrices":
        """Those of a box that holds whole matrices."""
        shape = shape_of(box)
        return self._replace(shape=shape, count=prod(shape) // (self.m * self.n))


def matrices_of(shape: tuple[int, ...], flatten: bool, heads: int) -> Matrices:
    """Read `[out, ...]` as one matrix `[out, rest]`, or leading dimensions as a batch; heads split rows.

    Raises ValueError where the shape has fewer than two dimensions or rows that `heads` does not divide.
    """
    shape = tuple(shape)
    if len(shape) < 2:
        raise ValueError(f"params must have at least 2 dimensions, got one of shape {shape}")
    rows, columns = (shape[0], prod(shape[1:])) if flatten else shape[-2:]
    if rows % heads:
        raise ValueError(f"heads must divide the rows of each matrix, got heads={heads} for shape {shape}")
    batch = 1 if flatten else prod(shape[:-2])
    return Matrices(shape, batch * heads, rows // heads, columns)


def _row_units(count: int, m: int, spans: Sequence[Span] | None, processes: tuple[int, int]) -> list[Span]:
    """Ranges of rows that hold whole matrices of m rows, within `spans` where there are such."""
    replicas, shards = processes
    most = replicas if spans else replicas * shards
    return [
        (low + a * m, low + b * m)
        for low, high in spans or [(0, count * m)]
        if (here := (high - low) // m)
        for a, b in even_spans(here, min(here, most))
    ]


def member_of(matrices: Matrices, dim: int, processes: tuple[int, int], flatten: bool) -> Member:
    """A parameter's matrices as a member of a plan for (replicas, shards) processes.

    Matrices that lie one after another by rows are had singly, or in as many ranges as there are processes;
    those cut along another dimension in ranges of the first one, or at once.
    """
    shape, m, n = matrices.shape, matrices.m, matrices.n
    by_rows = processes[1] == 1 or dim == 0 or len(shape) == 2
    units: list[Box]
    form: tuple[int, ...]
    if by_rows:
        form, scale = (matrices.count * m, n), matrices.count * m // shape[0] if dim == 0 else 1
        spans = chunk_spans(shape[dim], processes[1], scale)
        whole = dim == 0 and not any(low % m for low, _ in spans)
        rows = _row_units(matrices.count, m, spans if whole else None, processes)
        units = [(span, (0, n)) for span in rows]
    else:
        form, spans = shape, chunk_spans(shape[dim], processes[1])
        first = [(0, shape[0])] if flatten else even_spans(shape[0], min(shape[0], prod(processes)))
        units = [(span, *((0, size) for size in shape[1:])) for span in first]
    # A step has two products of the matrix with square ones, and one of square ones.
    cost = min(m, n) ** 2 * (2 * max(m, n) + min(m, n))
    costs = tuple(matrices.within(box).count * cost for box in units)
    return Member(form, dim, spans, tuple(units), costs)
