"""How a weight is cut into blocks, each with a preconditioner of its own."""

from math import prod

from .._shared.boxes import Box, chunk_spans, even_spans, shape_of
from .._shared.shares import Member

# Products of a root, about, against those of a step's means and direction.
_ROOT_PRODUCTS = 30


def block_grid(shape: tuple[int, ...], largest: int) -> list[Box]:
    """The blocks, row by row, of a weight that is taken as the matrix `[shape[0], product of the rest]`.

    They are the fewest of at most `largest` rows and columns, and even: that makes more of one size than full
    ones with a remainder would, and thus larger batches.
    """
    rows, columns = (even_spans(size, -(-size // largest)) for size in (shape[0], prod(shape[1:])))
    return [(r, c) for r in rows for c in columns]


def _cost(box: Box, frequency: int) -> int:
    m, n = shape_of(box)
    return _ROOT_PRODUCTS * (m**3 + n**3) // frequency + 2 * m * n * (m + n)


def member_of(shape: tuple[int, ...], dim: int, shards: int, largest: int, frequency: int) -> Member:
    """A weight's blocks as a member of a plan, cut along `dim` of the matrix over `shards`."""
    form = (shape[0], prod(shape[1:]))
    blocks = block_grid(shape, largest)
    costs = tuple(_cost(box, frequency) for box in blocks)
    return Member(form, dim, chunk_spans(form[dim], shards), tuple(blocks), costs)
