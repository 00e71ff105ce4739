"""Polar factors of the matrices in parameters: in batches, compiled, shared out over processes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from math import prod
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._options import SolveOptions, solve
from ._plan import Block, Box, ParameterPlan, Span, chunk_spans, even_spans, shape_of, whole_box
from ._processes import Layout
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
    """How a parameter is cut into matrices: `[rows, columns]`, `batch` times, each into heads of `sizes`."""

    shape: tuple[int, ...]
    batch: int
    rows: int
    columns: int
    sizes: tuple[int, ...]
    by_columns: bool

    @property
    def matrix(self) -> tuple[int, int] | None:
        """The shape of the matrices; None where they have several."""
        if len(set(self.sizes)) > 1:
            return None
        return (self.rows, self.sizes[0]) if self.by_columns else (self.sizes[0], self.columns)

    def suits(self, layout: Layout) -> bool:
        """Whether shards of this layout can be put together head by head."""
        return self.matrix is not None or len(self.shape) == 2 or not layout.dim

    def matrices(self, box: Box) -> Matrices:
        """The matrices of a block."""
        shape = shape_of(box)
        columns = shape[1] if len(shape) == 2 else self.columns
        rows = prod(shape) // columns
        return Matrices(shape, rows, columns, *(self.matrix or (rows, columns)))

    def plan(self, dim: int, ranks: tuple[int, int]) -> ParameterPlan:
        """Blocks for (replicas, shards) ranks, where shards cut the parameter along `dim`.

        Matrices that lie one after another are blocks by themselves, or in as many ranges as there are ranks;
        those cut along another dimension are ranges of the first one, or one block.
        """
        shape = self.shape
        form: tuple[int, ...] = self.batch * self.rows, self.columns
        dim = dim if ranks[1] > 1 else 0
        spans = chunk_spans(shape[dim], ranks[1], 1 if dim else form[0] // shape[0])
        boxes: list[Box]
        if dim and len(shape) > 2:
            form = shape
            first = even_spans(shape[0], min(shape[0], prod(ranks))) if self.batch > 1 else [(0, shape[0])]
            boxes = [(span, *whole_box(shape[1:])) for span in first]
        elif self.matrix is None:
            boxes = self._heads()
        else:
            # The axis that ranges are taken of, and the size of a matrix along it.
            axis = int(self.by_columns and self.batch == 1)
            size = self.matrix[1] if axis else self.rows if self.by_columns else self.matrix[0]
            whole = dim == axis and not any(low % size for low, _ in spans)
            ranges = _ranges(form[axis] // size, size, spans if whole else None, ranks)
            boxes = [((0, form[0]), span) if axis else (span, (0, form[1])) for span in ranges]
        costs = tuple(self.matrices(box).cost for box in boxes)
        return ParameterPlan(form, dim, spans, tuple(boxes), costs)

    def _heads(self) -> list[Box]:
        """The box of each head, of any size."""
        heads = list(pairwise(accumulate(self.sizes, initial=0)))
        tops = [i * self.rows for i in range(self.batch)]
        if self.by_columns:
            return [((top, top + self.rows), head) for top in tops for head in heads]
        return [((top + low, top + high), (0, self.columns)) for top in tops for low, high in heads]


def matrix_cut(
    shape: Sequence[int],
    *,
    flatten: bool,
    heads: int | tuple[int, ...] = 1,
    heads_by: str = "rows",
    name: str = "params",
) -> MatrixCut:
    """Read `[out, ...]` as one matrix `[out, rest]`, or leading dimensions as a batch; split it into heads.

    heads: the number of equal ones, or the size of each. Raises ValueError where the shape does not allow it.
    """
    shape = tuple(shape)
    if len(shape) < 2:
        raise ValueError(f"{name} must have at least 2 dimensions, got one of shape {shape}")
    rows, columns = (shape[0], prod(shape[1:])) if flatten else shape[-2:]
    length = columns if heads_by == "columns" else rows
    if isinstance(heads, int):
        if length % heads:
            raise ValueError(
                f"heads must divide the {heads_by} of each matrix, got heads={heads} for shape {shape}"
            )
        heads = (length // heads,) * heads
    elif sum(heads) != length:
        raise ValueError(
            f"heads must sum to the {heads_by} of each matrix, got heads={heads} for shape {shape}"
        )
    return MatrixCut(shape, 1 if flatten else prod(shape[:-2]), rows, columns, heads, heads_by == "columns")


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


# A number of matrices of a batch, and the function that writes them to a slot [size, *tall].
Source = tuple[int, Callable[[Tensor], object]]


class BatchSolver:
    """Polar factors in batches, by graphs that belong to this object.

    compile_options: what `torch.compile` is called with; None runs eagerly.
    """

    def __init__(self, compile_options: dict[str, Any] | None):
        self._options = compile_options
        self._compiled: dict[Batch, dict[int, Callable[..., Tensor]]] = {}

    def __call__(self, batch: Batch, sources: Iterable[Source]) -> Iterator[Tensor]:
        """The polar factors `[size, *tall]` of each source in turn, one solve after another."""
        for portion in _portions(batch, sources):
            sizes = [size for size, _ in portion]
            capacity, run = self._solver(batch, sum(sizes))
            stack = torch.empty(capacity, *batch.tall, dtype=batch.dtype, device=batch.device)
            stack[sum(sizes) :].zero_()
            for (_, write), slot in zip(portion, stack.split([*sizes, capacity - sum(sizes)])):
                write(slot)
            factors = run(stack, batch.options)[: sum(sizes)].split(sizes)
            # A loop over the tuple itself has no end for Dynamo of torch 2.15, in a generator.
            for i in range(len(sizes)):
                yield factors[i]

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


def _portions(batch: Batch, sources: Iterable[Source]) -> Iterator[list[Source]]:
    """Split sources into solves of at most `_LARGEST_BATCH` entries, as far as single ones are not larger."""
    portion: list[Source] = []
    filled, most = 0, _LARGEST_BATCH // prod(batch.tall)
    for source in sources:
        if portion and filled + source[0] > most:
            yield portion
            portion, filled = [], 0
        portion.append(source)
        filled += source[0]
    if portion:
        yield portion


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
    found: dict[Batch, list[tuple[Source, Round, Block, Matrices]]] = {}
    for own in rounds:
        for block, whole in own.collect():
            request = own.requests[block.parameter]
            matrices = request.share.cut.matrices(block.box)
            # What does not travel is rounded in the solve, after it was scaled.
            dtype = request.end.dtype if own.plan.is_alone else own.travels.dtype
            batch = Batch(request.details[0], matrices.tall, dtype, own.travels.device)
            source = prod(matrices.grid), _writer(own, block, matrices, whole)
            found.setdefault(batch, []).append((source, own, block, matrices))
    for batch, entries in found.items():
        factors = run(batch, [source for source, *_ in entries])
        for (_, own, block, matrices), stack in zip(entries, factors):
            factor = own.requests[block.parameter].details[1]
            scaled = stack if factor is None else stack * factor(matrices.m, matrices.n)
            own.give(block, matrices.restore(scaled))
    for own in rounds:
        own.finish()


def _writer(own: Round, block: Block, matrices: Matrices, whole: Tensor | None) -> Callable[[Tensor], object]:
    """What writes the matrices of a block to a slot: those of a request's direction, or of `whole`."""
    if whole is not None:
        return lambda slot: slot.copy_(matrices.read(whole))
    request = own.requests[block.parameter]
    return lambda slot: request.write(slot, lambda tensor: matrices.read(own.piece(block, tensor)))
