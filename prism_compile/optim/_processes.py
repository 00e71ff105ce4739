"""What touches torch.distributed: how a parameter lies over processes, and the collectives between them."""

from collections.abc import Sequence
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, cast

import torch
import torch.distributed as dist
from torch import Tensor

from .._interface.distributed import is_distributed
from ._plan import Box, Plan, shape_of

if TYPE_CHECKING:
    # This import takes as long as torch's own.
    from torch.distributed.tensor import DTensor

Group = Optional["dist.ProcessGroup"]

# Shares whose padding would be more than this part of all are made even first: at 0.5 an all-gather may send
# half as much again as it must, at 0.125 a second collective is paid for to save an eighth.
_LARGEST_PADDING = 0.25


class Layout(NamedTuple):
    """The groups of processes that share a parameter.

    replicas: those that hold the same and share the work, None where each does all. shards: those that hold
    a part each, cut along `dim`; None where there is no such group. gathered: whether the parameter is cut in
    another way, so that every process gathers its whole gradient.
    """

    replicas: Group = None
    shards: Group = None
    dim: int = 0
    gathered: bool = False

    def whole(self) -> "Layout":
        """The layout of a parameter whose gradient every process gathers."""
        return Layout(self.replicas, gathered=True)

    def empty_plan(self, shares_replicas: bool) -> Plan:
        """A plan of these groups; with `shares_replicas=False` each replica works for itself."""
        groups = self.replicas if shares_replicas else None, self.shards
        sizes = [1 if group is None else group.size() for group in groups]
        here = [0 if group is None else group.rank() for group in groups]
        return Plan(sizes[0], sizes[1], (here[0], here[1]), groups)


def check_process_group(group: Any) -> Group:
    """The group of a `ProcessGroup`, of a mesh of one dimension, or None."""
    if group is None:
        return None
    from torch.distributed.device_mesh import DeviceMesh

    if isinstance(group, DeviceMesh):
        if group.ndim != 1:
            raise ValueError(
                f"process_group must be a mesh of one dimension where it is a mesh, such as "
                f'mesh["replicate"]; got one of {group.ndim}: {group.mesh_dim_names or group}'
            )
        return group.get_group()
    if not isinstance(group, dist.ProcessGroup):
        raise TypeError(
            f"process_group must be None, a torch.distributed.ProcessGroup or a DeviceMesh of one dimension, "
            f"got {group!r} of type {type(group).__name__}"
        )
    return group


def layout_of(param: Tensor, group: Group, name: str = "params") -> Layout:
    """The layout of a parameter, whose replicas in a group share its work.

    Raises TypeError or ValueError where it lies in a way that is not supported.
    """
    if hasattr(param, "_fsdp_flattened") or type(param).__name__ == "FlatParameter":
        raise TypeError(
            f"{name} must be plain or sharded by FSDP2's fully_shard, got one that FullyShardedDataParallel "
            "has flattened, which leaves no matrices"
        )
    if not is_distributed(param):
        return Layout(group)
    from torch.distributed.tensor import Shard

    sharded = cast("DTensor", param)
    if any(placement.is_partial() for placement in sharded.placements):
        raise TypeError(f"{name} must be replicated or sharded, got placements {sharded.placements}")
    cut = [i for i, placement in enumerate(sharded.placements) if not placement.is_replicate()]
    if group is not None:
        for i in cut:
            _check_apart(group, sharded.device_mesh.get_group(i))
    if not cut:
        return Layout(group)
    placement = sharded.placements[cut[0]]
    # Subclasses of Shard cut in strides, for tensor parallelism beneath FSDP2.
    if len(cut) > 1 or type(placement) is not Shard:
        return Layout(group).whole()
    return Layout(group, sharded.device_mesh.get_group(cut[0]), placement.dim % param.ndim)


def _check_apart(group: "dist.ProcessGroup", shards: "dist.ProcessGroup") -> None:
    shared = set(dist.get_process_group_ranks(group)) & set(dist.get_process_group_ranks(shards))
    if len(shared) > 1:
        raise ValueError(
            f"process_group must hold processes that have the same shard of a parameter, got one with ranks "
            f"{sorted(shared)}, which have shards of their own; for a mesh of replicas and shards it is "
            f"the group of the replicas' dimension"
        )


def local(tensor: Tensor) -> Tensor:
    """A process's own part of a tensor."""
    return cast("DTensor", tensor).to_local() if is_distributed(tensor) else tensor


def aligned_gradient(param: Tensor) -> Tensor:
    """The gradient of a parameter that a step concerns, lying as the parameter does."""
    assert param.grad is not None
    if not is_distributed(param):
        return param.grad
    gradient, like = cast("DTensor", param.grad), cast("DTensor", param)
    if gradient.placements == like.placements:
        return gradient
    return gradient.redistribute(like.device_mesh, like.placements)


def working_part(tensor: Tensor, layout: Layout) -> Tensor:
    """What a process works on: its shard, or all of a tensor that is gathered."""
    return cast("DTensor", tensor).full_tensor() if layout.gathered else local(tensor)


def shard_of(worked_on: Tensor, param: Tensor, layout: Layout) -> Tensor:
    """The part of what a process has worked on that belongs to its shard of the parameter."""
    if not layout.gathered:
        return worked_on
    from torch.distributed.tensor import DTensor, Replicate

    like = cast("DTensor", param)
    mesh = like.device_mesh
    replicated = DTensor.from_local(worked_on, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return replicated.redistribute(mesh, like.placements).to_local()


def sum_over(values: Tensor, *groups: Group) -> Tensor:
    """The sum over the processes of the groups, written to `values`."""
    for group in groups:
        if group is not None and group.size() > 1:
            dist.all_reduce(values, group=group)
    return values


def exchange(
    outgoing: list[list[Tensor]], incoming: list[list[Box]], like: Tensor, group: Group
) -> list[list[Tensor]]:
    """Send `outgoing[r]` to process r of a group, by one all-to-all; receive from r `incoming[r]`."""
    sent = _joined([tensor for row in outgoing for tensor in row], like)
    counts = [sum(tensor.numel() for tensor in row) for row in outgoing]
    return _in_boxes(_all_to_all(sent, counts, list(map(_size, incoming)), group), incoming)


def bring_together(
    own: list[Tensor], boxes: list[list[Box]], like: Tensor, group: Group
) -> list[list[Tensor]]:
    """Bring together what each process has, `boxes[r]` at process r, of which `own` is this one's."""
    return _in_boxes(_all_gather(_joined(own, like), list(map(_size, boxes)), group), boxes)


def _size(boxes: Sequence[Box]) -> int:
    return sum(prod(shape_of(box)) for box in boxes)


def _joined(tensors: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors]) if tensors else like.new_empty(0)


def _in_boxes(flat: Tensor, boxes: list[list[Box]]) -> list[list[Tensor]]:
    """A flat tensor, cut into one of each box in turn."""
    pieces = iter(flat.split([_size([box]) for row in boxes for box in row]) if any(boxes) else ())
    return [[next(pieces).view(shape_of(box)) for box in row] for row in boxes]


def _all_to_all(sent: Tensor, counts: list[int], receives: list[int], group: Group) -> Tensor:
    received = sent.new_empty(sum(receives))
    dist.all_to_all_single(received, sent, receives, counts, group=group)
    return received


def _all_gather(own: Tensor, totals: list[int], group: Group) -> Tensor:
    """The flat tensors of all processes of a group, one after another; they have `totals` entries.

    One all-gather of the largest share's size brings them, as not every backend gathers unequal ones. Shares
    that differ much (fewer matrices than processes) would be mostly padding: these are made even before.
    """
    everything, largest, world = sum(totals), max(totals), len(totals)
    if not everything:
        return own
    if largest * world <= (1 + _LARGEST_PADDING) * everything:
        gathered = _gathered(own, largest, world, group).split(largest)
        return torch.cat([chunk[:total] for chunk, total in zip(gathered, totals)])
    even = -(-everything // world)
    return _gathered(_made_even(own, totals, even, group), even, world, group)[:everything]


def _gathered(flat: Tensor, size: int, world: int, group: Group) -> Tensor:
    """The flat tensors of all, each padded to a size, one after another."""
    if flat.numel() < size:
        flat = torch.cat([flat, flat.new_zeros(size - flat.numel())])
    received = flat.new_empty(world * size)
    dist.all_gather_single(received, flat, group=group)
    return received


def _made_even(flat: Tensor, totals: list[int], even: int, group: Group) -> Tensor:
    """This process's even part of all flat tensors, one after another, by an all-to-all."""
    world, rank = len(totals), dist.get_rank(group)
    edges = list(accumulate(totals, initial=0))

    def common(owner: int, number: int) -> int:
        low, high = max(edges[owner], number * even), min(edges[owner + 1], (number + 1) * even)
        return max(0, high - low)

    counts = [common(rank, number) for number in range(world)]
    return _all_to_all(flat, counts, [common(owner, rank) for owner in range(world)], group)
