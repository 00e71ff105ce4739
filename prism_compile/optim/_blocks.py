"""How a weight is cut into blocks, each with a preconditioner of its own."""

from itertools import pairwise
from typing import NamedTuple

from torch import Tensor


def even_spans(length: int, largest: int) -> list[slice]:
    """The fewest spans of at most `largest` that cover a length, their sizes at most one apart.

    Even spans make more blocks of one size than full ones with a remainder would, and thus larger batches.
    """
    count = -(-length // largest)
    edges = [length * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


class BlockGrid(NamedTuple):
    """The rows and columns at which an `[m, n]` matrix is cut."""

    rows: list[slice]
    columns: list[slice]

    def blocks(self, M: Tensor) -> list[Tensor]:
        """Views of the blocks, row by row."""
        return [M[r, c] for r in self.rows for c in self.columns]

    def factor_sizes(self) -> list[int]:
        """Sizes of each block's two factors in turn: rows, columns, rows, …"""
        return [s.stop - s.start for r in self.rows for c in self.columns for s in (r, c)]


def block_grid(shape: tuple[int, ...], largest: int) -> BlockGrid:
    """The grid of a weight that is taken as the matrix `[shape[0], product of the rest]`."""
    columns = 1
    for size in shape[1:]:
        columns *= size
    return BlockGrid(even_spans(shape[0], largest), even_spans(columns, largest))
