"""Muon's step for parameters sharded over processes (DTensor, as FSDP2's `fully_shard` makes them).

A polar factor needs its whole matrix. Of W processes that share matrices each solves every W-th: one
all-to-all brings it the shards, another takes the result's shards back, so that a matrix travels once each
way. Matrices that a shard holds whole (experts, heads) are solved where they are. Placements other than one
sharded mesh dimension are gathered and solved by every process.
"""

import math
from collections.abc import Iterator
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard

from ._matrices import Update
from ._orthogonalise import Kind, Orthogonaliser, Source


def _sharded(tensor: Tensor) -> DTensor:
    """A tensor of a sharded parameter as what it is."""
    return cast(DTensor, tensor)


def _cut_dimension(update: Update) -> int | None:
    """The mesh dimension that a parameter is sharded over, where there is just one."""
    placements = _sharded(update.param).placements
    cut = [i for i, placement in enumerate(placements) if not placement.is_replicate()]
    plain = (
        len(cut) == 1 and type(placements[cut[0]]) is Shard and _sharded(update.grad).placements == placements
    )
    return cut[0] if plain else None


def _local(update: Update, count: int) -> Update:
    """The update of this process's shard alone, which holds `count` whole matrices."""
    param = _sharded(update.param).to_local()
    return update._replace(
        param=param,
        grad=_sharded(update.grad).to_local(),
        buffer=_sharded(update.buffer).to_local(),
        matrices=update.matrices._replace(shape=tuple(param.shape), count=count),
    )


class _Cut:
    """A parameter cut along `dim` into the shards of `torch.chunk`, of which the last may be empty."""

    def __init__(self, update: Update, mesh_dim: int):
        self.update = update
        self.group = _sharded(update.param).device_mesh.get_group(mesh_dim)
        shape = tuple(update.param.shape)
        self.dim = cast(Shard, _sharded(update.param).placements[mesh_dim]).dim % len(shape)
        world = self.group.size()
        self.widths = [Shard.local_shard_size_and_offset(shape[self.dim], world, r)[0] for r in range(world)]
        self.shapes = [(*shape[: self.dim], width, *shape[self.dim + 1 :]) for width in self.widths]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.local = _local(update, 0)

    def whole_matrices(self) -> bool:
        """Whether no matrix is cut."""
        matrix = self.update.matrices.m * self.update.matrices.n
        return self.dim == 0 and all(size % matrix == 0 for size in self.sizes)

    def source(self, shards: list[Tensor]) -> Source:
        """The matrices, put together from every process's flat shard."""

        def write(slot: Tensor) -> None:
            pieces = [shard.view(shape) for shard, shape in zip(shards, self.shapes)]
            slot.copy_(self.update.matrices.read(torch.cat(pieces, dim=self.dim)))

        return Source(self.update.matrices.count, write)

    def shards(self, stack: Tensor) -> Iterator[Tensor]:
        """The flat shards of a result, process by process."""
        whole = self.update.matrices.restore(stack)
        return (shard.flatten() for shard in whole.split(self.widths, dim=self.dim))


def _exchange(
    outgoing: list[list[Tensor]], sizes: list[list[int]], like: Tensor, group: dist.ProcessGroup
) -> list[list[Tensor]]:
    """Send `outgoing[r]` to process r; receive from each process r flat tensors of `sizes[r]`."""
    flat = [tensor for row in outgoing for tensor in row]
    sent = torch.cat(flat) if flat else like.new_empty(0)
    received = torch.empty(sum(map(sum, sizes)), dtype=like.dtype, device=like.device)
    counts = [sum(row) for row in sizes], [sum(tensor.numel() for tensor in row) for row in outgoing]
    dist.all_to_all_single(received, sent, *counts, group=group)
    parts = iter(received.split([size for row in sizes for size in row]))
    return [[next(parts) for _ in row] for row in sizes]


def _step_cut(orthogonalise: Orthogonaliser, kind: Kind, cuts: list[_Cut]) -> None:
    """Step parameters that are cut over one process group."""
    group = cuts[0].group
    world, rank = group.size(), group.rank()
    shares = [cuts[r::world] for r in range(world)]
    mine = shares[rank]
    if kind.settings.dtype is torch.bfloat16 and kind.dtype is torch.float32:
        # The solve rounds to this type in any case, and nothing leaves its range.
        kind = kind._replace(dtype=torch.bfloat16)
    directions = [[cut.local.direction().flatten().to(kind.dtype) for cut in share] for share in shares]
    sizes = [[cut.sizes[r] for cut in mine] for r in range(world)]
    like = torch.empty(0, dtype=kind.dtype, device=kind.device)
    arrived = _exchange(directions, sizes, like, group)
    del directions
    sources = [cut.source([row[i] for row in arrived]) for i, cut in enumerate(mine)]
    stacks = orthogonalise(kind, sources)
    # By parameter, then by process; transposed for the way back.
    solved = [list(cut.shards(stack)) for cut, stack in zip(mine, stacks)]
    returning = [[shards[r] for shards in solved] for r in range(world)]
    sizes = [[cut.sizes[rank] for cut in share] for share in shares]
    like = torch.empty(0, dtype=kind.settings.dtype or kind.dtype, device=kind.device)
    for share, row in zip(shares, _exchange(returning, sizes, like, group)):
        for cut, shard in zip(share, row):
            cut.local.apply(shard.view(cut.shapes[rank]))


def _step_gathered(orthogonalise: Orthogonaliser, kind: Kind, updates: list[Update]) -> None:
    """Step parameters of any placements: every process solves them all."""

    def source(update: Update) -> Source:
        def write(slot: Tensor) -> None:
            slot.copy_(update.matrices.read(_sharded(update.direction()).full_tensor()))

        return Source(update.matrices.count, write)

    for update, stack in zip(updates, orthogonalise(kind, map(source, updates))):
        mesh = _sharded(update.param).device_mesh
        whole = DTensor.from_local(
            update.matrices.restore(stack), mesh, [Replicate()] * mesh.ndim, run_check=False
        )
        local = whole.redistribute(mesh, _sharded(update.param).placements).to_local()
        _local(update, 0).apply(local)


def _is_replicated(update: Update) -> bool:
    return all(
        placement.is_replicate()
        for placement in _sharded(update.param).placements + _sharded(update.grad).placements
    )


def _step_kind(orthogonalise: Orthogonaliser, kind: Kind, updates: list[Update]) -> Iterator[Update]:
    """Step the parameters whose matrices are cut; yields the local updates of the others."""
    by_group: dict[str, list[_Cut]] = {}
    gathered = []
    for update in updates:
        mesh_dim = _cut_dimension(update)
        if _is_replicated(update):
            yield _local(update, update.matrices.count)
        elif mesh_dim is None:
            gathered.append(update)
        else:
            cut = _Cut(update, mesh_dim)
            if not cut.whole_matrices():
                by_group.setdefault(cut.group.group_name, []).append(cut)
            elif count := cut.local.param.numel() // (update.matrices.m * update.matrices.n):
                yield _local(update, count)
    for cuts in by_group.values():
        _step_cut(orthogonalise, kind, cuts)
    if gathered:
        _step_gathered(orthogonalise, kind, gathered)


def step_sharded(
    orthogonalise: Orthogonaliser, sharded: dict[Kind, list[Update]], whole: dict[Kind, list[Update]]
) -> None:
    """Step the sharded parameters; those whose matrices are whole here are left to the caller, in `whole`.

    Every process must have gradients for the same parameters.
    """
    for kind, updates in sharded.items():
        if local := list(_step_kind(orthogonalise, kind, updates)):
            whole.setdefault(kind, []).extend(local)
