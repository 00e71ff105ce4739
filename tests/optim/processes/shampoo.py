"""Shampoo: several processes step as one."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard

from prism_compile.optim import Shampoo

from ...matrices import gaussian
from . import muon
from .traffic import Traffic
from .twins import STEPS, assert_same, compare, twins

# Two blocks of two sizes, a convolution, vectors, a lone row.
SHAPES = [(9, 6), (6, 9), (9, 6), (12, 12), (7, 2, 3), (7,), (1, 5), (3,)]
OPTIONS = {
    "lr": 0.05,
    "betas": (0.9, 0.99),
    "eps": 1e-3,
    "max_preconditioner_dim": 7,
    "precondition_frequency": 3,
    "start_step": 2,
}


def build(groups, **options) -> Shampoo:
    return Shampoo(groups, **{**OPTIONS, "compile": False, **options})


def build_compiled(groups, **options) -> Shampoo:
    # Few steps, which are traced quickly; as are two weights of four blocks [6, 6].
    return build(groups, compile={"backend": "aot_eager"}, steps=2, **options)


def blocks_kept(optimizer: Shampoo) -> int:
    """Bytes of the blocks' state that a process holds."""
    states = optimizer.state.values()
    return sum(value.nbytes for state in states for name, value in state.items() if "." in name)


def replicated(world: int, folder: Path) -> None:
    """DDP: the roots are shared out, or all of the state."""
    group = dist.group.WORLD
    cases = [(shape, None, {}) for shape in SHAPES]
    compare(cases, build, steps=STEPS, process_group=group)
    compare(2 * cases[3:4], build_compiled, process_group=group)
    optimizer, other = compare(cases, build, process_group=group, shard_state=True)
    # Every block is somebody's once; the steps and the vectors' state are everyone's.
    blocks = torch.tensor(blocks_kept(optimizer))
    dist.all_reduce(blocks)
    assert blocks == blocks_kept(other)
    for grafting in ("none", "sgd"):
        own = [(shape, None, {"grafting": grafting}) for shape in SHAPES[:3]]
        compare(own, build, process_group=group, shard_state=True)


def memory(world: int, folder: Path) -> None:
    """With `shard_state` a process keeps a W-th of the blocks, and sends directions instead of roots."""
    group, weights = dist.group.WORLD, 2 * world
    kept = {}
    for shard_state in (False, True):
        groups, _ = twins([((16, 16), None, {})] * weights)
        optimizer = build(groups, process_group=group, shard_state=shard_state, start_step=0)
        for own in groups:
            own["params"][0].grad = gaussian(16, 16)
        with Traffic() as traffic:
            optimizer.step()
        kept[shard_state] = blocks_kept(optimizer)
        # A share of the roots, 2 · 3 · (5² + 5² + 6²) entries of each of two weights; with `shard_state` one
        # of the directions, by as much larger as shares of equal cost differ, and two norms of each block.
        (gathered,) = traffic.sent.pop("_allgather_base_")
        share = 2 * 16 * 16 * 8 if shard_state else 2 * 6 * 86 * 8
        assert share <= gathered <= 1.05 * share
        assert traffic.sent == ({"allreduce_": [weights * 9 * 2 * 8]} if shard_state else {})
    largest, total = torch.tensor(kept[True]), torch.tensor(kept[True])
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    dist.all_reduce(total)
    assert total == kept[False]
    assert largest <= 1.05 * total / world


def sharded(world: int, folder: Path) -> None:
    """Shards by rows and columns, of vectors and convolutions, some of them empty; and replicas."""
    mesh = init_device_mesh("cpu", (world,))
    cases = [(shape, [Shard(0)], {}) for shape in SHAPES]
    cases += [
        ((9, 6), [Shard(1)], {}),
        ((9, 6), [Replicate()], {}),
        ((4, 5, 2), [Shard(1)], {}),
        ((3, 8), [Shard(0)], {"grafting": "sgd"}),
    ]
    compare(cases, build, mesh)
    compare(2 * cases[3:4], build_compiled, mesh)


def late(world: int, folder: Path) -> None:
    """A group that is added between steps leaves the blocks of others where they are."""
    groups, others = twins([((9, 6), None, {}), ((12, 12), None, {})])
    more, other_more = twins([((6, 9), None, {}), ((8, 8), None, {})])
    optimizer, other = build(groups, process_group=dist.group.WORLD, shard_state=True), build(others)
    for step in range(STEPS // 2):
        if step == 4:
            for own, added in ((optimizer, more), (other, other_more)):
                for group in added:
                    own.add_param_group(group)
        for own in (optimizer, other):
            for i, group in enumerate(own.param_groups):
                (param,) = group["params"]
                param.grad = gaussian(*param.shape, seed=10 * step + i)
            own.step()
    params = ([g["params"][0] for g in own.param_groups] for own in (optimizer, other))
    assert_same(*params)


def missing(world: int, folder: Path) -> None:
    """A step in which no matrix has a gradient, and one in which none has."""
    groups, others = twins([((9, 6), None, {}), ((7,), None, {})])
    optimizer, other = build(groups, process_group=dist.group.WORLD), build(others)
    for step in range(6):
        for own in (optimizer, other):
            matrix, vector = (g["params"][0] for g in own.param_groups)
            matrix.grad = gaussian(9, 6, seed=step) if step % 3 == 0 else None
            vector.grad = gaussian(7, seed=step + 20) if step % 3 < 2 else None
            own.step()
    assert_same(*([g["params"][0] for g in own.param_groups] for own in (optimizer, other)))


CASES = {
    "shampoo-replicated": replicated,
    "shampoo-memory": memory,
    "shampoo-sharded": sharded,
    "shampoo-fsdp": muon.fsdp(nn.Module.parameters, build),
    "shampoo-hybrid": muon.hybrid(
        build, ((7, 2, 3), [Replicate(), Shard(0)], {}), ((7,), [Replicate(), Shard(0)], {}), shard_state=True
    ),
    "shampoo-tensor-parallel": muon.tensor_parallel(build, ((7,), [Shard(0), Shard(0)], {})),
    "shampoo-late": late,
    "shampoo-missing": missing,
}
