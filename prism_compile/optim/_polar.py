"""Polar factors of the matrices in parameters: in batches, compiled, shared out over processes."""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise, product
from math import prod
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._options import SolveOptions, solve
from ._plan import Block, Box, ParameterPlan, Span, chunk_spans, even_spans, shape_of
from ._round import Request, Round, rounds_of

# More entries than this (1 GiB in float32) are solved in several batches: such matrices fill a device by
# themselves, and the batch is a copy.
_LARGEST_BATCH = 2**28


class Matrices(NamedTuple):
    """How a tensor of `shape`, taken as `[rows, columns]`, reads as a grid of matrices `[m, n]`.

    Stacked for a solve they are tall, `[count, max(m, n), min(m, n)]`, so that a shape and its transpose
    share a batch. The polar factor of a transpose is the transpose of the polar factor.
    """

    shape: tuple[int, ...]
    rows: int
    columns: int
    m: int
    n: int

    @property
    def grid(self) -> tuple[int, int]:
        return self.rows // self.m, self.columns // self.n

    @property
    def tall(self) -> tuple[int, int]:
        return max(self.m, self.n), min(self.m, self.n)

    @property
    def cost(self) -> int:
        """A step has two products of each matrix with square ones, and one of square ones."""
        large, small = self.tall
        return prod(self.grid) * small**2 * (2 * large + small)

    def read(self, tensor: Tensor) -> Tensor:
        """A tensor of the shape as a stack; a view where strides allow."""
        down, across = self.grid
        stack = tensor.reshape(down, self.m, self.columns)
        if across > 1:
            stack = stack.unflatten(2, (across, self.n)).transpose(1, 2).flatten(0, 1)
        return stack.mT if self.m < self.n else stack

    def restore(self, stack: Tensor) -> Tensor:
        """A stack in the shape."""
        if self.m < self.n:
            stack = stack.mT
        if self.grid[1] > 1:
            stack = stack.unflatten(0, self.grid).transpose(1, 2)
        return stack.reshape(self.shape)


class MatrixCut(NamedTuple):
    """How a parameter is cut into matrices, each of heads of `sizes` by rows or by columns.

    is_flat: `[out, ...]` is one matrix `[out, rest]`; otherwise leading dimensions are a batch. keeps_rows:
    whether no shards may cut a row.
    """

    shape: tuple[int, ...]
    is_flat: bool
    sizes: tuple[int, ...]
    by_columns: bool
    keeps_rows: bool

    @property
    def row_dims(self) -> tuple[int, ...]:
        """The dimensions that a row of a matrix runs along."""
        return tuple(range(1 if self.is_flat else len(self.shape) - 1, len(self.shape)))

    @property
    def matrix(self) -> tuple[int, int] | None:
        """The shape of the matrices; None where they have several."""
        return None if len(set(self.sizes)) > 1 else self._matrix(self.shape)

    def suits(self, dim: int) -> bool:
        """Whether shards along `dim` > 0 can be put together head by head."""
        is_box = self.matrix is not None or not self.by_columns or len(self.row_dims) == 1
        return is_box and not (self.keeps_rows and dim in self.row_dims)

    def _whole(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """The rows and columns of what heads are cut from, in a tensor of a shape."""
        return (shape[0], prod(shape[1:])) if self.is_flat else (shape[-2], shape[-1])

    def _matrix(self, shape: tuple[int, ...]) -> tuple[int, int]:
        rows, columns = self._whole(shape)
        if len(set(self.sizes)) > 1:
            return rows, columns
        return (rows, self.sizes[0]) if self.by_columns else (self.sizes[0], columns)

    def matrices(self, box: Box) -> Matrices:
        """The matrices of a block."""
        shape = shape_of(box)
        columns = self._whole(shape)[1]
        return Matrices(shape, prod(shape) // columns, columns, *self._matrix(shape))

    def plan(self, dim: int, ranks: tuple[int, int]) -> ParameterPlan:
        """Blocks for (replicas, shards) ranks, where shards cut the parameter along `dim`.

        Equal heads, or the matrices of a batch, lie in as many ranges as there are ranks. Heads of several
        sizes, and of fewer matrices than there are ranks, are blocks by themselves.
        """
        dim = dim if ranks[1] > 1 else 0
        form = self.shape if dim or not self.is_flat else self._whole(self.shape)
        spans = chunk_spans(form[dim], ranks[1])
        heads = list(pairwise(accumulate(self.sizes, initial=0)))
        cuts: list[list[Span]] = [[(0, size)] for size in form]
        # The dimension along which heads lie; that of a convolution's columns may be none of the form's.
        axis = len(form) - 1 if self.by_columns else 0 if self.is_flat else len(form) - 2
        if not self.is_flat:
            cuts[0] = _ranges(form[0], 1, spans if dim == 0 else None, ranks)
        if self.matrix is None or (not self.is_flat and form[0] < prod(ranks)):
            cuts[axis] = heads
        elif self.is_flat and form[axis] == heads[-1][1]:
            size = self.sizes[0]
            is_whole = dim == axis and not any(low % size for low, _ in spans)
            cuts[axis] = _ranges(len(heads), size, spans if is_whole else None, ranks)
        boxes = tuple(product(*cuts))
        return ParameterPlan(form, dim, spans, boxes, tuple(self.matrices(box).cost for box in boxes))


def matrix_cut(
    shape: Sequence[int],
    *,
    flatten: bool,
    heads: int | tuple[int, ...] = 1,
    heads_by: str = "rows",
    keeps_rows: bool = False,
    name: str = "params",
) -> MatrixCut:
    """Read `[out, ...]` as one matrix `[out, rest]`, or leading dimensions as a batch; split it into heads.

    Raises ValueError where the shape does not allow it.
    """
    shape = tuple(shape)
    if len(shape) < 2:
        raise ValueError(f"{name} must have at least 2 dimensions, got one of shape {shape}")
    by_columns = heads_by == "columns"
    is_flat = flatten or len(shape) == 2
    length = (prod(shape[1:]) if is_flat else shape[-1]) if by_columns else shape[0 if is_flat else -2]
    sizes = (length // heads,) * heads if isinstance(heads, int) else heads
    if sum(sizes) != length:
        must = "divide" if isinstance(heads, int) else "sum to"
        raise ValueError(
            f"heads must {must} the {heads_by} of each matrix, got heads={heads} for shape {shape}"
        )
    return MatrixCut(shape, is_flat, sizes, by_columns, keeps_rows)


def _ranges(count: int, size: int, spans: Sequence[Span] | None, ranks: tuple[int, int]) -> list[Span]:
    """Ranges of `count` matrices, as many as there are ranks, within `spans` where there are such."""
    most = ranks[0] if spans else prod(ranks)
    return [
        (low + a * size, low + b * size)
        for low, high in spans or [(0, count * size)]
        if (here := (high - low) // size)
        for a, b in even_spans(here, min(here, most))
    ]


def compiled_apart(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    """`torch.compile(function, **options)`, static by default, with a code object of its own.

    Dynamo keeps graphs, and counts them against its limits of 8 and 256, by code object: graphs of one
    optimizer are then none of another's. A whole graph is not asked for: where Dynamo compiles nothing, as
    under FlopCounterMode or TORCH_COMPILE_DISABLE, that would be an error, and so the function runs eagerly.
    """
    own = FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
    return torch.compile(own, **{"dynamic": False, **options})


class Batch(NamedTuple):
    """What the matrices of one batch have in common; `dtype` is that of the stack."""

    options: SolveOptions
    tall: tuple[int, int]
    dtype: torch.dtype
    device: torch.device


class Source(NamedTuple):
    """Matrices of a batch: what writes them to a slot `[size, *tall]`, and what takes their factors."""

    size: int
    write: Callable[[Tensor], object]
    take: Callable[[Tensor], None]


class BatchSolver:
    """Polar factors in batches, by graphs that belong to this object.

    compile_options: what `torch.compile` is called with; None runs eagerly.
    """

    def __init__(self, compile_options: dict[str, Any] | None):
        self._options = compile_options
        self._compiled: dict[Batch, dict[int, Callable[..., Tensor]]] = {}

    def __call__(self, batch: Batch, sources: list[Source]) -> None:
        """Have each source take the polar factors `[size, *tall]` of its matrices."""
        for portion in _portions(batch, sources):
            sizes = [source.size for source in portion]
            capacity, run = self._solver(batch, sum(sizes))
            stack = torch.empty(capacity, *batch.tall, dtype=batch.dtype, device=batch.device)
            stack[sum(sizes) :].zero_()
            for source, slot in zip(portion, stack.split([*sizes, capacity - sum(sizes)])):
                source.write(slot)
            for source, factors in zip(portion, run(stack, batch.options)[: sum(sizes)].split(sizes)):
                source.take(factors)

    def _solver(self, batch: Batch, size: int) -> tuple[int, Callable[..., Tensor]]:
        """A solver and the number of matrices it takes: `size`, or up to twice that where one is there.

        The number of matrices varies where gradients are missing now and then; zero matrices fill the batch,
        so that not each number needs a graph of its own.
        """
        # A caller's graph takes the solve in.
        if self._options is None or torch.compiler.is_compiling():
            return size, solve
        graphs = self._compiled.setdefault(batch, {})
        fitting = min((known for known in graphs if size <= known <= 2 * size), default=size)
        if fitting not in graphs:
            graphs[fitting] = compiled_apart(solve, self._options)
        return fitting, graphs[fitting]


def _portions(batch: Batch, sources: list[Source]) -> list[list[Source]]:
    """Split sources into solves of at most `_LARGEST_BATCH` entries, as far as single ones are not larger."""
    portions: list[list[Source]] = []
    filled, most = 0, _LARGEST_BATCH // prod(batch.tall)
    for source in sources:
        if not portions or filled + source.size > most:
            portions.append([])
            filled = 0
        portions[-1].append(source)
        filled += source.size
    return portions


def _dtypes(request: Request) -> tuple[torch.dtype, torch.dtype]:
    """The dtypes that the direction of a request is sent in, and that its polar factors have.

    bfloat16 has the range of float32: what a solve would round to it may be sent so, but for numbers below
    1e-38, which lose digits or vanish.
    """
    own, solved = request.end.dtype, request.details[0].dtype
    rounds_at_once = solved is torch.bfloat16 and own is torch.float32
    return solved if rounds_at_once else own, solved or own


def orthogonalise(run: BatchSolver, requests: Iterable[Request]) -> None:
    """Apply to each request the polar factors of its direction.

    `details` are its SolveOptions, and factor(m, n), what the polar factors of a block are multiplied by, or
    None.
    """
    rounds = rounds_of((request, *_dtypes(request)) for request in requests)
    batches: dict[Batch, list[Source]] = {}
    for own in rounds:
        for block, whole in own.collect():
            request = own.requests[block.parameter]
            matrices = request.share.cut.matrices(block.box)
            # What does not travel is rounded in the solve, after it was scaled.
            dtype = request.end.dtype if own.plan.is_alone else own.travels.dtype
            batch = Batch(request.details[0], matrices.tall, dtype, own.travels.device)
            batches.setdefault(batch, []).append(_source(own, block, matrices, whole))
    for batch, sources in batches.items():
        run(batch, sources)
    for own in rounds:
        own.finish()


def _source(own: Round, block: Block, matrices: Matrices, whole: Tensor | None) -> Source:
    """The matrices of a block: those of its request's direction, or of `whole`."""
    request = own.requests[block.parameter]
    factor = request.details[1]

    def write(slot: Tensor) -> None:
        if whole is None:
            request.write(slot, lambda tensor: matrices.read(own.piece(block, tensor)))
        else:
            slot.copy_(matrices.read(whole))

    def take(factors: Tensor) -> None:
        scaled = factors if factor is None else factors * factor(matrices.m, matrices.n)
        own.give(block, matrices.restore(scaled))

    return Source(prod(matrices.grid), write, take)
