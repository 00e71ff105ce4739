"""What one process of many sends and computes in an optimizer's step, counted while the step runs.

The step runs on fake tensors in a process group that sends nothing, so that one process of 4096 is tried
here: no model of the optimizers, but these themselves. tests/tools/test_scale.py has the same counts of
processes that do run.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import Replicate, Shard, zeros
from torch.optim import Optimizer
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

import prism_compile.optim

from ..common.counting import operator_flops
from .lists import Scheme, Shape


def _sent(name: str, args: tuple) -> float:
    """Bytes of a collective: by an all-to-all what goes to others; by an all-gather of s (W - 1)·s, as in a
    ring; by an all-reduce 2·(W - 1)/W·s."""
    if name == "alltoall_base_":
        _, given, group, _, counts, *_ = args
        own = counts[ProcessGroup.unbox(group).rank()] if counts else 0
        return (given.numel() - own) * given.itemsize
    if name == "_allgather_base_":
        received, given, *_ = args
        return (received.numel() // max(given.numel(), 1) - 1) * given.numel() * given.itemsize
    if name == "allreduce_":
        tensors, group, *_ = args
        processes = ProcessGroup.unbox(group).size()
        return 2 * (processes - 1) / processes * sum(t.numel() * t.itemsize for t in tensors)
    raise NotImplementedError(f"no rule for the bytes that c10d's {name} sends")


class Counter(TorchDispatchMode):
    """Adds up the bytes sent and the flops of products, of eager operators."""

    def __init__(self):
        super().__init__()
        self.sent, self.flops = 0.0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function.namespace == "c10d":
            self.sent += _sent(function._overloadpacket.__name__, args)
        self.flops += operator_flops(function, args, kwargs, result) or 0
        return result


def build(scheme: Scheme, shapes: list[Shape], mesh: DeviceMesh, options: dict) -> Optimizer:
    """The optimizer with parameters and gradients that lie on the mesh, replicas × shards, as it says."""
    replicate, shard = mesh.mesh_dim_names

    def placed(shape: Shape) -> Tensor:
        if scheme.held == "replicas":
            return torch.zeros(shape)
        if scheme.held == "shards":
            return zeros(shape, device_mesh=mesh[shard], placements=[Shard(0)])
        return zeros(shape, device_mesh=mesh, placements=[Replicate(), Shard(0)])

    params = [nn.Parameter(placed(shape)) for shape in shapes]
    for param, shape in zip(params, shapes):
        param.grad = placed(shape)
    if scheme.held != "shards":
        options = {**options, "process_group": mesh[replicate]}
    if scheme.shard_state:
        options = {**options, "shard_state": True}
    return getattr(prism_compile.optim, scheme.optimizer)(params, compile=False, **options)


def counted(optimizer: Optimizer, period: int) -> tuple[float, float]:
    """Bytes sent and flops of a step, mean over a period: the first takes roots, the others are alike."""
    found = []
    for _ in range(min(period, 2)):
        with Counter() as counter:
            optimizer.step()
        found.append((counter.sent, counter.flops))
    first, other = found[0], found[-1]
    return tuple((a + (period - 1) * b) / period for a, b in zip(first, other))


@contextmanager
def _one_of(world: int, rank: int) -> Iterator[None]:
    dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


def counts(
    scheme: Scheme, shapes: list[Shape], grid: tuple[int, int], rank: int, options: dict, period: int
) -> tuple[float, float]:
    """Of one process of a grid of replicas × shards; the period is that of Shampoo's roots."""
    world = grid[0] * grid[1]
    # DTensor keeps what it knows of a mesh beyond its process group: each run has names of its own.
    names = tuple(f"{name} {rank} of {grid}" for name in (f"{scheme.name} replicate", f"{scheme.name} shard"))
    with _one_of(world, rank):
        mesh = init_device_mesh("cpu", grid, mesh_dim_names=names)
        with FakeTensorMode():
            return counted(build(scheme, shapes, mesh, options), period)
