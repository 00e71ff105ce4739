"""How a parameter lies over processes, and the part of it that a process works on."""

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.tensor import DTensor


class Layout(NamedTuple):
    """The groups of processes that share a parameter.

    replicas: those that hold the same and share the work, None where each does all. shards: those that hold
    a part each, cut along `dim`; None where there is no such group. gathered: whether the parameter is cut in
    another way, so that every process gathers its whole gradient.
    """

    replicas: "ProcessGroup | None" = None
    shards: "ProcessGroup | None" = None
    dim: int = 0
    gathered: bool = False

    def groups(self) -> "Layout":
        """The groups alone: parameters that share them travel together."""
        return Layout(self.replicas, self.shards)

    def whole(self) -> "Layout":
        """That of a parameter whose gradient every process gathers."""
        return Layout(self.replicas, gathered=True)

    def sizes(self) -> tuple[int, int]:
        """The number of replicas and of shards."""
        return tuple(1 if group is None else group.size() for group in (self.replicas, self.shards))  # type: ignore[return-value]

    def place(self) -> tuple[int, int]:
        """This process's rank among either."""
        return tuple(0 if group is None else group.rank() for group in (self.replicas, self.shards))  # type: ignore[return-value]


def is_distributed(tensor: Tensor) -> bool:
    """Whether it is a DTensor, without the import of torch.distributed that the type would take."""
    return hasattr(tensor, "device_mesh")


def check_process_group(group: Any) -> "ProcessGroup | None":
    """The group of a `ProcessGroup`, of a mesh of one dimension, or None."""
    if group is None:
        return None
    import torch.distributed as dist
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


def _check_apart(group: "ProcessGroup", shards: "ProcessGroup") -> None:
    import torch.distributed as dist

    shared = set(dist.get_process_group_ranks(group)) & set(dist.get_process_group_ranks(shards))
    if len(shared) > 1:
        raise ValueError(
            f"process_group must hold processes that have the same shard of a parameter, got one with ranks "
            f"{sorted(shared)}, which have shards of their own; for a mesh of replicas and shards it is "
            f"the group of the replicas' dimension"
        )


def layout_of(param: Tensor, group: "ProcessGroup | None", name: str = "params") -> Layout:
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
    for i in cut:
        if group is not None:
            _check_apart(group, sharded.device_mesh.get_group(i))
    if not cut:
        return Layout(group)
    placement = sharded.placements[cut[0]]
    # Subclasses of Shard cut in strides, for tensor parallelism beneath FSDP2.
    if len(cut) > 1 or type(placement) is not Shard:
        return Layout(group).whole()
    return Layout(group, sharded.device_mesh.get_group(cut[0]), placement.dim % param.ndim)


def aligned(gradient: Tensor, param: Tensor) -> Tensor:
    """A gradient that lies as its parameter does."""
    if not is_distributed(param):
        return gradient
    sharded, like = cast("DTensor", gradient), cast("DTensor", param)
    if sharded.placements == like.placements:
        return gradient
    return sharded.redistribute(like.device_mesh, like.placements)


def working_part(tensor: Tensor, layout: Layout) -> Tensor:
    """What a process works on: its shard, or all of a tensor that is gathered."""
    if not is_distributed(tensor):
        return tensor
    sharded = cast("DTensor", tensor)
    return sharded.full_tensor() if layout.gathered else sharded.to_local()


def shard_of(worked_on: Tensor, param: Tensor, layout: Layout) -> Tensor:
    """The part of what a process has worked on that belongs to its shard of the parameter."""
    if not layout.gathered:
        return worked_on
    from torch.distributed.tensor import DTensor, Replicate

    like = cast("DTensor", param)
    replicated = DTensor.from_local(
        worked_on, like.device_mesh, [Replicate()] * like.device_mesh.ndim, run_check=False
    )
    return replicated.redistribute(like.device_mesh, like.placements).to_local()


def local(tensor: Tensor) -> Tensor:
    """A process's own part of a tensor."""
    return cast("DTensor", tensor).to_local() if is_distributed(tensor) else tensor


def placed_like(shard: Tensor, like: Tensor, shape: torch.Size | None = None) -> Tensor:
    """A process's part of a tensor of a shape as the DTensor that it is a part of, where `like` is one."""
    if not is_distributed(like):
        return shard
    from torch.distributed.tensor import DTensor

    whole = cast("DTensor", like)
    stride = like.stride() if shape is None else torch.empty(shape, device="meta").stride()
    return DTensor.from_local(
        shard, whole.device_mesh, whole.placements, run_check=False, shape=shape or like.shape, stride=stride
    )
