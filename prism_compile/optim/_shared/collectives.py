"""Lists of tensors between processes, each list as one flat tensor."""

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

# Shares whose padding would be more than this part of all are made even first.
_LARGEST_PADDING = 0.25


def _joined(tensors: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors]) if tensors else like.new_empty(0)


def _split(flat: Tensor, sizes: list[int]) -> list[Tensor]:
    return list(flat.split(sizes)) if sizes else []


def all_to_all(
    outgoing: list[list[Tensor]], sizes: list[list[int]], like: Tensor, group: "ProcessGroup | None"
) -> list[list[Tensor]]:
    """Send `outgoing[r]` to process r of a group; receive from each r flat tensors of `sizes[r]`."""
    sent = _joined([tensor for row in outgoing for tensor in row], like)
    counts = [sum(tensor.numel() for tensor in row) for row in outgoing]
    received = _all_to_all_flat(sent, counts, [sum(row) for row in sizes], group)
    return [_split(chunk, row) for chunk, row in zip(received.split([sum(row) for row in sizes]), sizes)]


def _all_to_all_flat(
    sent: Tensor, counts: list[int], receives: list[int], group: "ProcessGroup | None"
) -> Tensor:
    import torch.distributed as dist

    received = sent.new_empty(sum(receives))
    dist.all_to_all_single(received, sent, receives, counts, group=group)
    return received


def all_gather(
    own: list[Tensor], sizes: list[list[int]], like: Tensor, group: "ProcessGroup | None"
) -> list[list[Tensor]]:
    """Flat tensors of `sizes[r]` from each process r of a group, of which `own` are this one's.

    By one all-gather of the largest share's size, as not every backend gathers unequal ones. Shares that
    differ much (fewer matrices than processes) would be mostly padding: these are made even before.
    """
    totals = [sum(row) for row in sizes]
    everything, largest = sum(totals), max(totals)
    flat = _joined(own, like)
    if not everything:
        joined = flat
    elif is_padded(totals):
        gathered = _gathered(flat, largest, len(sizes), group).split(largest)
        joined = torch.cat([chunk[:total] for chunk, total in zip(gathered, totals)])
    else:
        even = -(-everything // len(sizes))
        joined = _gathered(_made_even(flat, totals, even, group), even, len(sizes), group)[:everything]
    return [_split(chunk, row) for chunk, row in zip(joined.split(totals), sizes)]


def is_padded(totals: Sequence[int]) -> bool:
    """Whether shares of these sizes are padded to the largest, and not made even."""
    return max(totals) * len(totals) <= (1 + _LARGEST_PADDING) * sum(totals)


def _gathered(flat: Tensor, size: int, world: int, group: "ProcessGroup | None") -> Tensor:
    """The flat tensors of all, each padded to a size, one after another."""
    import torch.distributed as dist

    if flat.numel() < size:
        flat = torch.cat([flat, flat.new_zeros(size - flat.numel())])
    received = flat.new_empty(world * size)
    dist.all_gather_single(received, flat, group=group)
    return received


def _made_even(flat: Tensor, totals: list[int], even: int, group: "ProcessGroup | None") -> Tensor:
    """This process's even part of all flat tensors, one after another, by an all-to-all."""
    import torch.distributed as dist

    world, rank = len(totals), dist.get_rank(group)
    edges = list(accumulate(totals, initial=0))

    def common(owner: int, part: int) -> int:
        low, high = max(edges[owner], part * even), min(edges[owner + 1], (part + 1) * even)
        return max(0, high - low)

    counts = [common(rank, part) for part in range(world)]
    return _all_to_all_flat(flat, counts, [common(owner, rank) for owner in range(world)], group)
