"""Boxes: the parts of a parameter that are cut out, sent and put together again."""

from functools import lru_cache
from itertools import pairwise

from torch import Tensor

Span = tuple[int, int]
# A span of each dimension.
Box = tuple[Span, ...]


def even_spans(length: int, count: int) -> list[Span]:
    """`count` spans that cover a length, their sizes at most one apart."""
    edges = [length * i // count for i in range(count + 1)]
    return list(pairwise(edges))


# Many weights have the same, and thousands of shards take long to list for each.
@lru_cache(1024)
def chunk_spans(length: int, count: int, scale: int = 1) -> tuple[Span, ...]:
    """The shards of a length that DTensor and `torch.chunk` make: the last ones smaller, or empty.

    scale: rows that each of the length stands for.
    """
    size = -(-length // count)
    edges = [scale * min(i * size, length) for i in range(count + 1)]
    return tuple(pairwise(edges))


def shape_of(box: Box) -> tuple[int, ...]:
    return tuple(high - low for low, high in box)


def within(box: Box, dim: int, span: Span) -> Box:
    """The part of a box that lies in a span of one dimension; it may be empty."""
    low, high = (max(box[dim][0], span[0]), min(box[dim][1], span[1]))
    return (*box[:dim], (low, max(low, high)), *box[dim + 1 :])


def part(tensor: Tensor, box: Box, corner: tuple[int, ...]) -> Tensor:
    """The view of a box in a tensor whose first entry lies at `corner`."""
    return tensor[tuple(slice(low - c, high - c) for (low, high), c in zip(box, corner))]


def corner_of(box: Box) -> tuple[int, ...]:
    return tuple(low for low, _ in box)
