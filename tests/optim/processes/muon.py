"""Muon: several processes step as one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from prism_compile.optim import Muon, MuonWithAdamW, Shampoo, split_parameters

from ...matrices import gaussian
from .traffic import Traffic
from .twins import STEPS, assert_same, compare, set_gradients, twins

# Odd numbers of equal shapes, transposed ones, rows that no number of processes divides.
SHAPES = [(9, 6), (6, 9), (9, 6), (12, 12), (7, 3), (1, 5), (9, 6)]
ROWS, COLUMNS, REPLICAS = [Shard(0)], [Shard(1)], [Replicate()]


def build(groups, **options) -> Muon:
    return Muon(groups, **{"lr": 0.1, "compile": False, "dtype": None, **options})


def build_compiled(groups, **options) -> Muon:
    # By a rule and steps that are traced quickly.
    return build(groups, compile={"backend": "aot_eager"}, rule="taylor", ns_steps=2, **options)


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


def matrices(model: nn.Module) -> list:
    """Its parameters but for the last layer's: also those that Muon is not for, for their shapes."""
    return split_parameters(model, {"conv.weight": "matrix", "narrow.weight": "matrix"}).matrices


def train(model: nn.Module, optimizers: list, first: int = 0, steps: int = STEPS) -> None:
    for seed in range(first, first + steps):
        model.zero_grad()
        model(gaussian(6, 3, 7, seed=seed)).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()


def models(*kinds: str) -> list[nn.Module]:
    """Equal models: "plain", "fsdp", or a mesh of replicas and shards for hybrid sharding."""
    found = []
    for kind in kinds:
        torch.manual_seed(0)
        model = Model().double()
        if kind != "plain":
            options = {} if kind == "fsdp" else {"mesh": kind}
            for block in model.blocks:
                fully_shard(block, **options)
            fully_shard(model, **options)
        found.append(model)
    return found


def hybrid(build: Callable, *others: tuple, **more) -> Callable:
    """Hybrid sharding: the replicas share out what their shards solve, or each solves all."""

    def case(world: int, folder: Path) -> None:
        mesh = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("replicate", "shard"))
        cases = [*((shape, [Replicate(), Shard(0)], {}) for shape in SHAPES), *others]
        compare(cases, build, mesh)
        compare(cases, build, mesh, process_group=mesh["replicate"])
        if more:
            compare(cases, build, mesh, process_group=mesh["replicate"], **more)

    return case


def tensor_parallel(build: Callable, *others: tuple) -> Callable:
    """Matrices that two mesh dimensions cut are gathered."""

    def case(world: int, folder: Path) -> None:
        mesh = init_device_mesh("cpu", (2, world // 2))
        twice = [((9, 6), [Shard(0), Shard(1)], {}), ((6, 9), [Shard(0), Shard(0)], {})]
        compare([*twice, *others], build, mesh)

    return case


def fsdp(choose: Callable, build: Callable) -> Callable:
    """`fully_shard`, also in replicas: 20 steps of a model as one process takes them."""

    def case(world: int, folder: Path) -> None:
        kinds = [("fsdp", {})]
        if world == 4:
            mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard"))
            kinds.append((mesh, {"process_group": mesh.get_group("replicate")}))
        for kind, how in kinds:
            model, twin = models(kind, "plain")
            optimizer, other = build(choose(model), lr=0.01, **how), build(choose(twin), lr=0.01)
            train(model, [optimizer])
            train(twin, [other])
            assert_same(model.parameters(), twin.parameters())

    return case


def switched(world: int, folder: Path) -> None:
    """Sharded after the optimizer was made, whose parameters are then replaced: as accelerate does it."""
    for make in (MuonWithAdamW, Shampoo):
        model, twin = models("plain", "plain")
        given = (lambda own: own) if make is MuonWithAdamW else nn.Module.parameters
        optimizer, other = (make(given(own), lr=0.01, compile=False) for own in (model, twin))
        names = {param: name for name, param in model.named_parameters()}
        fully_shard(model)
        sharded = dict(model.named_parameters())
        for group in optimizer.param_groups:
            group["params"] = [sharded[names[param]] for param in group["params"]]
        train(model, [optimizer], steps=4)
        train(twin, [other], steps=4)
        # bfloat16 solves in batches of other sizes: some ulps of updates of entries below 0.01.
        assert_same(model.parameters(), twin.parameters(), 4 * 0.01 * 2**-7)


def replicated(world: int, folder: Path) -> None:
    """DDP: a share each, eager and compiled, experts and heads in ranges; less than a share is sent."""
    group = dist.group.WORLD
    cases = [(shape, None, {}) for shape in SHAPES]
    cases += [((5, 6, 4), None, {"flatten": False}), ((12, 3), None, {"heads": 4}), ((4, 5, 2), None, {})]
    compare(cases, build, steps=STEPS, process_group=group)
    compare(cases[:3], build_compiled, process_group=group)
    if world == 2:
        # Inductor, by a rule that compiles fast.
        inductor = partial(build, compile=True, rule="jordan", ns_steps=3)
        compare(cases[:2], inductor, process_group=group)
    compare(
        [((8, 8), REPLICAS, {}), ((8, 4), REPLICAS, {})],
        build,
        init_device_mesh("cpu", (world,)),
        process_group=group,
    )
    groups, _ = twins([((16, 16), None, {})] * (2 * world))
    optimizer = build(groups, process_group=group)
    for own in groups:
        own["params"][0].grad = gaussian(16, 16)
    with Traffic() as traffic:
        optimizer.step()
    # One collective, of this process's two polar factors.
    assert traffic.sent == {"_allgather_base_": [2 * 16 * 16 * 8]}


def half(world: int, folder: Path) -> None:
    """By default bfloat16 solves, of float32 gradients that float16 could not hold."""
    params = [nn.Parameter(gaussian(7, 5, seed=i, dtype=torch.float32)) for i in range(2)]
    mesh = init_device_mesh("cpu", (world,))
    shards = [nn.Parameter(distribute_tensor(param.detach().clone(), mesh, ROWS)) for param in params]
    for i, (param, shard) in enumerate(zip(params, shards)):
        param.grad = gaussian(7, 5, seed=i + 9, dtype=torch.float32) * 1e-12
        shard.grad = distribute_tensor(param.grad, mesh, ROWS)
    for own in (params, shards):
        Muon(own, lr=0.1, compile=False).step()
    # bfloat16 sums in another order: some ulps of an update of entries below 0.1.
    assert_same(shards, params, 0.1 * 2**-7)


def placements(world: int, folder: Path) -> None:
    """Shards of other dimensions, fewer matrices than processes; whole ones, which nobody exchanges."""
    mesh = init_device_mesh("cpu", (world,))
    cases = [
        *(((4, 6), ROWS, {}), ((7, 5), ROWS, {}), ((7, 5), ROWS, {}), ((2, 9), ROWS, {})),
        ((9, 6), ROWS, {}),
        ((9, 6), COLUMNS, {}),
        ((6, 9), COLUMNS, {}),
        ((6, 9), REPLICAS, {}),
        ((4, 5, 2), [Shard(2)], {}),
        ((4, 5, 2), [Shard(1)], {"flatten": False}),
        ((4, 6, 2), [Shard(1)], {"flatten": False}),
        ((10, 3), ROWS, {"heads": 5}),
        ((9, 6), ROWS, {"nesterov": False}),
        ((9, 6), COLUMNS, {"heads": 3}),
    ]
    compare(cases, build, mesh)
    compare(cases[1:3], build_compiled, mesh)
    whole = [((world, 6, 4), ROWS, {"flatten": False}), ((1, 6, 4), ROWS, {"flatten": False})]
    whole += [((16, 3), ROWS, {"heads": 4}), ((6, 9), REPLICAS, {})]
    compare(whole, build, mesh)
    groups, others = twins(whole, mesh)
    set_gradients(groups, others, step=len(groups))
    optimizer = build(groups)
    with Traffic() as traffic:
        optimizer.step()
    assert not traffic.sent


def options(world: int, folder: Path) -> None:
    """Heads of several sizes, rows that are evened out by all shards' norms, momentum of its own dtype."""
    mesh = init_device_mesh("cpu", (world,))
    columns = {"heads": (2, 4), "heads_by": "columns"}
    cases = [
        ((9, 6), ROWS, {"heads": (4, 5)}),
        ((9, 6), ROWS, columns),
        ((9, 6), COLUMNS, columns),
        ((4, 8), COLUMNS, {"heads": 2, "heads_by": "columns"}),
        ((4, 6, 2), [Shard(1)], {"flatten": False, "heads": (2, 4)}),
        ((9, 6), ROWS, {"beta2": 0.9}),
        ((1, 6), ROWS, {"beta2": 0.9, "cautious": True}),
        ((6, 9), COLUMNS, {"beta2": 0.9}),
        ((4, 5, 2), [Shard(1)], {"beta2": 0.9}),
        ((5, 6, 4), [Shard(1)], {"flatten": False, "beta2": 0.9}),
        ((9, 6), REPLICAS, {"beta2": 0.9}),
        ((9, 6), ROWS, {"momentum_dtype": torch.float32}),
    ]
    compare(cases, build, mesh)
    replicated = [(shape, None, own) for shape, _, own in cases]
    compare(replicated, build, process_group=dist.group.WORLD)


CASES = {
    "muon-options": options,
    "muon-fsdp": fsdp(matrices, build),
    "switched": switched,
    "muon-replicated": replicated,
    "muon-half": half,
    "muon-placements": placements,
    "muon-hybrid": hybrid(
        build, ((6, 9), [Replicate(), Shard(1)], {}), ((5, 6, 4), [Replicate(), Shard(0)], {"flatten": False})
    ),
    "muon-tensor-parallel": tensor_parallel(
        build, ((9, 6), [Shard(1), Replicate()], {}), ((4, 3, 2), [Shard(0), Shard(0)], {"flatten": False})
    ),
}
