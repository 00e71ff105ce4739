"""One of several processes that share the solves; prints what it sent and computed per step, as JSON.

Arguments: the rank, the number of processes, the file that they meet at, the name of the list, the number of
steps and the optimizers' options.
"""

import json
import os
import sys

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

import prism_compile.optim

from .count import Counter
from .lists import LISTS, SCHEMES, Scheme, Shape

# Shards of a copy where there are replicas too.
SHARDS = 2


def _optimizer(scheme: Scheme, shapes: list[Shape], world: int, options: dict) -> torch.optim.Optimizer:
    """With parameters and gradients that lie as the scheme says."""
    generator = torch.Generator().manual_seed(0)
    grid = scheme.grid(world, SHARDS)
    mesh = init_device_mesh("cpu", grid, mesh_dim_names=("replicate", "shard"))
    if scheme.held == "shards":
        mesh = mesh["shard"]

    def placed(shape: Shape) -> Tensor:
        whole = torch.randn(shape, generator=generator)
        if scheme.held == "replicas":
            return whole
        placements = [Shard(0)] if scheme.held == "shards" else [Replicate(), Shard(0)]
        return distribute_tensor(whole, mesh, placements, src_data_rank=None)

    params = [nn.Parameter(placed(shape)) for shape in shapes]
    for param in params:
        param.grad = placed(tuple(param.shape))
    kind = getattr(prism_compile.optim, scheme.optimizer)
    if scheme.held != "shards":
        options = {**options, "process_group": mesh["replicate"]}
    if scheme.shard_state:
        options = {**options, "shard_state": True}
    return kind(params, compile=False, **options)


def _counted(optimizer: torch.optim.Optimizer, steps: int) -> dict[str, float]:
    with Counter() as counter:
        for _ in range(steps):
            optimizer.step()
    return {"sent": counter.sent / steps, "flops": counter.flops / steps}


def main() -> None:
    rank, world, rendezvous, name, steps, options = sys.argv[1:]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=int(rank), world_size=int(world))
    own = json.loads(options)
    found = {}
    for scheme in SCHEMES:
        optimizer = _optimizer(scheme, LISTS[name], int(world), own[scheme.optimizer])
        found[scheme.name] = _counted(optimizer, int(steps))
    print(json.dumps(found), flush=True)
    dist.barrier()
    # Gloo's threads, which meshes keep alive, may abort a process that shuts its interpreter down.
    os._exit(0)


if __name__ == "__main__":
    main()
