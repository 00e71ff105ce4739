"""One process of `test_muon_distributed.py`: steps sharded parameters and compares with unsharded ones.

Arguments: the cases, the rank, the number of processes and the file that they meet at.
"""

import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from prism_compile.optim import Muon, split_parameters
from prism_compile.optim import _distributed as distributed
from tests.matrices import gaussian

STEPS = 3
OPTIONS = {"lr": 0.1, "compile": False}


class Model(nn.Module):
    """Rows that no number of processes divides, a convolution, a lone shape, an odd number of equal ones."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 7, 3)
        self.blocks = nn.ModuleList(nn.Linear(35, 35) for _ in range(3))
        self.narrow = nn.Linear(35, 1)
        self.last = nn.Linear(1, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).flatten(1)
        for block in self.blocks:
            x = block(x).tanh()
        return self.last(self.narrow(x))


def assert_same(sharded: DTensor, whole: torch.Tensor) -> None:
    # The same float64 iterations in batches of other sizes: sums in another order, over `STEPS` steps.
    torch.testing.assert_close(sharded.full_tensor(), whole, rtol=0, atol=1e-10)


def train(model: nn.Module, optimizer: Muon, first: int = 0) -> None:
    for seed in range(first, first + STEPS):
        optimizer.zero_grad()
        model(gaussian(6, 3, 7, seed=seed)).square().mean().backward()
        optimizer.step()


def fsdp(world: int) -> None:
    """`fully_shard`, a compiled solve, and a checkpoint of the sharded state."""
    torch.manual_seed(0)
    model, twin, resumed = Model().double(), Model().double(), Model().double()
    twin.load_state_dict(model.state_dict())
    resumed.load_state_dict(model.state_dict())
    for own in (model, resumed):
        for block in own.blocks:
            fully_shard(block)
        fully_shard(own)
    optimizers = []
    for own, compile in ((model, {"backend": "eager"}), (twin, False), (resumed, False)):
        matrices = split_parameters(own).matrices
        assert len(matrices) == 5
        optimizers.append(Muon(matrices, lr=0.1, dtype=None, compile=compile))
    optimizer, other, third = optimizers
    train(model, optimizer)
    train(twin, other)
    for param, whole in zip(model.parameters(), twin.parameters(), strict=True):
        assert_same(param, whole)
        if whole in other.state:
            buffer = optimizer.state[param]["momentum_buffer"]
            assert isinstance(buffer, DTensor)
            assert_same(buffer, other.state[whole]["momentum_buffer"])
    third.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(model.state_dict())
    third.param_groups[0]["dtype"] = None
    train(resumed, third, first=STEPS)
    train(twin, other, first=STEPS)
    for param, whole in zip(resumed.parameters(), twin.parameters(), strict=True):
        assert_same(param, whole)


def compare(cases: list, mesh, **options) -> None:
    """Step tensors of given shapes and placements, in groups of their own options, sharded and not."""
    groups, twins = [], []
    for i, (shape, placements, own) in enumerate(cases):
        whole = gaussian(*shape, seed=i)
        groups.append({"params": [nn.Parameter(distribute_tensor(whole, mesh, placements))], **own})
        twins.append({"params": [nn.Parameter(whole.clone())], **own})
    sharded, single = Muon(groups, **OPTIONS, **options), Muon(twins, **OPTIONS, **options)
    for seed in range(STEPS):
        for i, (group, twin) in enumerate(zip(groups, twins)):
            (param,), (other,) = group["params"], twin["params"]
            if i == seed:
                param.grad = other.grad = None
                continue
            other.grad = gaussian(*other.shape, seed=100 * seed + i + 50)
            param.grad = distribute_tensor(other.grad, mesh, param.placements)
        sharded.step()
        single.step()
    for group, twin in zip(groups, twins):
        (param,), (other,) = group["params"], twin["params"]
        assert_same(param, other)
        assert param.grad is None or torch.equal(param.grad.full_tensor(), other.grad)


def count_exchanges() -> list:
    """Count the all-to-alls from here on."""
    calls = []
    exchange = distributed._exchange
    distributed._exchange = lambda *arguments: calls.append(1) or exchange(*arguments)
    return calls


def placements(world: int) -> None:
    """Shards of other dimensions; whole experts and heads, and replicas, which nobody exchanges."""
    mesh = init_device_mesh("cpu", (world,))
    rows, columns, replicas = [Shard(0)], [Shard(1)], [Replicate()]
    cases = [
        ((9, 6), rows, {}),
        ((9, 6), columns, {}),
        ((6, 9), columns, {}),
        ((6, 9), replicas, {}),
        ((4, 5, 2), [Shard(2)], {}),
        ((4, 5, 2), [Shard(1)], {"flatten": False}),
        ((4, 6, 2), [Shard(1)], {"flatten": False}),
        ((10, 3), rows, {"heads": 5}),
        ((9, 6), rows, {"nesterov": False}),
    ]
    compare(cases, mesh, dtype=None)
    calls = count_exchanges()
    whole = [((3, 6, 4), rows, {"flatten": False}), ((1, 6, 4), rows, {"flatten": False})]
    compare([*whole, ((16, 3), rows, {"heads": 4}), ((6, 9), replicas, {})], mesh, dtype=None)
    assert not calls


def grid(world: int) -> None:
    """A mesh of two dimensions: sharded in one (hybrid sharding) and in both."""
    mesh = init_device_mesh("cpu", (2, world // 2))
    cases = [
        ((9, 6), [Replicate(), Shard(0)], {}),
        ((9, 6), [Replicate(), Shard(0)], {}),
        ((9, 6), [Shard(1), Replicate()], {}),
        ((9, 6), [Shard(0), Shard(1)], {}),
        ((6, 9), [Shard(0), Shard(0)], {}),
        ((4, 3, 2), [Shard(0), Shard(0)], {"flatten": False}),
    ]
    compare(cases, mesh, dtype=None)


def uneven(world: int) -> None:
    """Fewer matrices than processes, empty shards; bfloat16 solves of float32 gradients."""
    mesh = init_device_mesh("cpu", (world,))
    cases = [
        ((4, 6), [Shard(0)], {}),
        ((7, 5), [Shard(0)], {}),
        ((7, 5), [Shard(0)], {}),
        ((2, 9), [Shard(0)], {}),
    ]
    compare(cases, mesh, dtype=None)
    params = [nn.Parameter(gaussian(7, 5, seed=i, dtype=torch.float32)) for i in range(2)]
    shards = [nn.Parameter(distribute_tensor(param.detach().clone(), mesh, [Shard(0)])) for param in params]
    for i, (param, shard) in enumerate(zip(params, shards)):
        param.grad = gaussian(7, 5, seed=i + 9, dtype=torch.float32) * 1e-12
        shard.grad = distribute_tensor(param.grad, mesh, [Shard(0)])
    Muon(params, **OPTIONS).step()
    Muon(shards, **OPTIONS).step()
    for param, shard in zip(params, shards):
        # bfloat16 sums in another order: some ulps of an update of entries below 0.1.
        torch.testing.assert_close(shard.full_tensor(), param.detach(), rtol=0, atol=0.1 * 2**-7)


CASES = {"fsdp": fsdp, "placements": placements, "uneven": uneven, "grid": grid}

if __name__ == "__main__":
    cases, rank, world, rendezvous = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    for case in cases.split("+"):
        CASES[case](world)
    dist.destroy_process_group()
    # Meshes live on in DTensor's caches, and with them gloo's threads: one that lets go of a tensor while the
    # interpreter shuts down aborts the process (pytorch#179291). An assertion never gets here.
    sys.stdout.flush()
    os._exit(0)
