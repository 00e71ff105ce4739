"""What several processes are refused, by name and before anything is sent."""

import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

from prism_compile.optim import Muon, Orthogonaliser, Shampoo

from ...matrices import gaussian
from . import shampoo


def lying(mesh, placements) -> nn.Parameter:
    return nn.Parameter(distribute_tensor(gaussian(6, 4), mesh, placements))


def refusals(world: int, folder: Path) -> None:
    mesh = init_device_mesh("cpu", (world,))
    grid = init_device_mesh("cpu", (1, world), mesh_dim_names=("replicate", "shard"))
    for kind in (Muon, Shampoo):
        optimizer = kind([lying(grid, [Replicate(), Shard(0)])], process_group=grid["replicate"])
        with pytest.raises(ValueError, match="process_group must be the optimizer's"):
            optimizer.add_param_group({"params": [lying(mesh, [Replicate()])], "process_group": None})
        with pytest.raises(ValueError, match=r"one dimension .* got one of 2: .*replicate"):
            kind([lying(mesh, [Shard(0)])], process_group=grid)
        optimizer = kind([lying(mesh, [Replicate()])], process_group=dist.group.WORLD)
        with pytest.raises(ValueError, match=r"the same shard of a parameter, got one with ranks \[0, 1\]"):
            optimizer.add_param_group({"params": [lying(mesh, [Shard(0)])]})
        partial = nn.Parameter(DTensor.from_local(torch.ones(4, 4), mesh, [Partial()]))
        with pytest.raises(TypeError, match=r"params must be replicated or sharded, got .*Partial"):
            optimizer.add_param_group({"params": [partial]})
        assert len(optimizer.param_groups) == 1
        with pytest.raises(TypeError, match=f"{kind.__name__} with a process_group can be neither copied"):
            copy.deepcopy(optimizer)
    with pytest.raises(TypeError, match=r"updates must be replicated or sharded, got .*Partial"):
        Orthogonaliser(compile=False)([partial])
    # State of one process alone lacks the blocks of the others.
    weights = [nn.Parameter(gaussian(9, 9, seed=i)) for i in range(2)]
    optimizer, other = (
        shampoo.build(weights, process_group=dist.group.WORLD, shard_state=True) for _ in range(2)
    )
    for weight in weights:
        weight.grad = gaussian(9, 9)
    optimizer.step()
    state = optimizer.state_dict()
    other.load_state_dict(state)
    with pytest.raises(ValueError, match=r"must have the blocks \[.*\] of a weight of shape \(9, 9\)"):
        shampoo.build(weights).load_state_dict(state)


CASES = {"refusals": refusals}
