"""The polar factors of a user's own updates, shared out."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from prism_compile.optim import Orthogonaliser

from ...matrices import gaussian, svd_polar
from .twins import whole


def factors(world: int, folder: Path) -> None:
    """Against the SVD: plain tensors of replicas, shards of both, in one call each."""
    values = [gaussian(*shape, seed=i) for i, shape in enumerate([(9, 6), (6, 9), (8, 8), (9, 6), (4, 3, 2)])]
    wanted = [svd_polar(value.reshape(len(value), -1)).reshape(value.shape) for value in values]
    # Converged in float64: rounding by n·eps, times the condition, below 1e4 here.
    tolerance = {"rtol": 0, "atol": 1e-10}
    orthogonalise = Orthogonaliser(steps=14, compile=False, process_group=dist.group.WORLD)
    for found, factor in zip(orthogonalise(values), wanted, strict=True):
        torch.testing.assert_close(found, factor, **tolerance)
    mesh = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("replicate", "shard"))
    sharded = [distribute_tensor(value, mesh, [Replicate(), Shard(0)]) for value in values]
    orthogonalise = Orthogonaliser(steps=14, compile=False, process_group=mesh["replicate"])
    for found, given, factor in zip(orthogonalise(sharded), sharded, wanted, strict=True):
        assert found.placements == given.placements
        torch.testing.assert_close(whole(found), factor, **tolerance)


CASES = {"orthogonaliser": factors}
