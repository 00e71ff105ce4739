"""What one process of many sends and computes in an optimizer's step, counted while the step runs.

The step runs on fake tensors in a process group that sends nothing, so that one process of 4096 is tried
here: no model of the optimizers, but these themselves. tests/tools/test_scale.py has the same counts of
processes that do run.
"""

from typing import NamedTuple

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

Shape = tuple[int, int]


def transformer(width: int, layers: int, hidden: int, key_values: int) -> list[Shape]:
    """The weights `[out, in]` of a Llama-like one, but for embeddings and head, layer by layer."""
    attention = [(width, width), (key_values, width), (key_values, width), (width, width)]
    return [*attention, (hidden, width), (hidden, width), (width, hidden)] * layers


# With rows that 2 and 4 do not divide, or fewer than those.
SMALL = [*transformer(width=96, layers=2, hidden=256, key_values=24), (35, 35), (50, 33), (3, 40), (33, 70)]


class Scheme(NamedTuple):
    """How an optimizer's processes hold parameters: as `replicas`, in `shards`, or in `both` ways."""

    name: str
    optimizer: str
    held: str
    shard_state: bool = False

    def grid(self, processes: int, shards: int) -> tuple[int, int]:
        """The numbers of replicas and of shards; of both there are at most `shards` of the latter."""
        if self.held == "replicas":
            return processes, 1
        if self.held == "shards":
            return 1, processes
        shards = min(shards, processes)
        return processes // shards, shards


SCHEMES = [
    Scheme("Muon, DDP", "Muon", "replicas"),
    Scheme("Muon, FSDP2", "Muon", "shards"),
    Scheme("Muon, HSDP", "Muon", "both"),
    Scheme("Shampoo, DDP", "Shampoo", "replicas"),
    Scheme("Shampoo, DDP+state", "Shampoo", "replicas", shard_state=True),
    Scheme("Shampoo, FSDP2", "Shampoo", "shards"),
    Scheme("Shampoo, HSDP", "Shampoo", "both"),
    Scheme("Shampoo, HSDP+state", "Shampoo", "both", shard_state=True),
]


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


def counts(
    scheme: Scheme, shapes: list[Shape], grid: tuple[int, int], rank: int, options: dict, period: int
) -> tuple[float, float]:
    """Of one process of a grid of replicas × shards; the period is that of Shampoo's roots."""
    world = grid[0] * grid[1]
    # DTensor keeps what it knows of a mesh beyond its process group: each run has names of its own.
    names = tuple(f"{scheme.name} {rank} of {grid}, {name}" for name in ("replicate", "shard"))
    dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
    try:
        mesh = init_device_mesh("cpu", grid, mesh_dim_names=names)
        with FakeTensorMode():
            return counted(build(scheme, shapes, mesh, options), period)
    finally:
        dist.destroy_process_group()
