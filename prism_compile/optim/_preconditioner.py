"""Shampoo's blocks: how a weight is cut into them, and the state of each at the process that owns it.

A weight's state is flat, by the number of each block in its grid ("mean.0", "left.0", "left_root.0", …), so
that checkpoints name the same tensors whoever owned them. Vectors have their state where they are.
"""

from math import log, prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._iteration.precision import accumulation_dtype
from .._iteration.scaling import nonzero
from ._layout import is_distributed, local
from ._plan import Block, Box, ParameterPlan, chunk_spans, even_spans, shape_of
from ._round import Round

Group = dict[str, Any]

# Products of a root, about, against those of a step's means and direction.
_ROOT_PRODUCTS = 30


class BlockCut(NamedTuple):
    """How a weight is cut, as `[shape[0], product of the rest]`, into blocks of at most `largest`.

    frequency: the steps between two roots of a block.
    """

    shape: tuple[int, ...]
    largest: int
    frequency: int

    def boxes(self) -> tuple[Box, ...]:
        """The fewest blocks, row by row, and even ones.

        Even ones make more of one size than full ones with a remainder would, and thus larger batches.
        """
        sizes = (self.shape[0], prod(self.shape[1:]))
        rows, columns = (even_spans(size, -(-size // self.largest)) for size in sizes)
        return tuple((r, c) for r in rows for c in columns)

    def _cost(self, box: Box) -> int:
        m, n = shape_of(box)
        return _ROOT_PRODUCTS * (m**3 + n**3) // self.frequency + 2 * m * n * (m + n)

    def plan(self, dim: int, ranks: tuple[int, int]) -> ParameterPlan:
        """The plan for (replicas, shards) ranks, where shards cut the matrix along `dim`."""
        form, boxes = (self.shape[0], prod(self.shape[1:])), self.boxes()
        spans = chunk_spans(form[dim], ranks[1])
        return ParameterPlan(form, dim, spans, boxes, tuple(map(self._cost, boxes)))


def _take_in(average: Tensor, new: Tensor, beta: float) -> None:
    """Make an exponential mean of what was taken in, or for beta = 1 the plain sum."""
    weight = 1 - beta if beta < 1 else 1
    if torch.compiler.is_compiling():
        # Of alpha's value a caller's graph would make a guard.
        average.mul_(beta).add_(new * weight)
    else:
        average.mul_(beta).add_(new, alpha=weight)


def correction(step: Tensor, beta: float, dtype: torch.dtype) -> Tensor:
    """The total weight of what a mean has taken in, 1 - beta^step; 1 for a sum and for no mean at all."""
    step = step.to(dtype)
    if not 0 < beta < 1:
        return torch.ones_like(step)
    # Of a logarithm's value a caller's graph would make a guard. In float32 1 - 0.999 has lost five digits.
    is_traced = torch.compiler.is_compiling()
    logarithm = torch.log1p(step.new_full((), beta - 1)) if is_traced else log(beta)
    return -torch.expm1(step * logarithm)


def has_started(group: Group) -> bool:
    """Whether a group's steps are preconditioned by now."""
    started: bool = group["count"] >= group["start_step"]
    return started


class WeightStep(NamedTuple):
    """A step of a weight: its group, its state and the dtype of that, the corrections of mean and square."""

    group: Group
    state: dict[str, Any]
    kept: torch.dtype
    corrections: tuple[Tensor, Tensor]

    @property
    def is_grafted(self) -> bool:
        return has_started(self.group) and self.group["grafting"] != "none"


def weight_step(group: Group, state: dict[str, Any], weight: Tensor) -> WeightStep:
    """Begin a step of a weight by counting it."""
    if "step" not in state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device)
    state["step"] += 1
    kept = accumulation_dtype(weight.dtype)
    first, second = (correction(state["step"], beta, kept) for beta in group["betas"])
    return WeightStep(group, state, kept, (first, second))


class BlockStep:
    """A step of one block of a weight, or of a vector, whose `number` is None.

    The gradient, which for a vector is laid out as the vector is, goes into the means and factors.
    """

    def __init__(self, weight: WeightStep, number: int | None, gradient: Tensor):
        self.weight, self._number = weight, number
        self._prepare(gradient)
        first, second = weight.group["betas"]
        G = self._gradient = local(gradient).to(weight.kept)
        if self.has("mean"):
            _take_in(self["mean"], G, first)
        if self.has("square"):
            _take_in(self["square"], G * G, second)
        if number is not None:
            scale = 1 - second if second < 1 else 1
            self["left"].addmm_(G, G.mT, beta=second, alpha=scale)
            self["right"].addmm_(G.mT, G, beta=second, alpha=scale)

    def _key(self, name: str) -> str:
        return name if self._number is None else f"{name}.{self._number}"

    def __getitem__(self, name: str) -> Tensor:
        return local(self.weight.state[self._key(name)])

    def has(self, name: str) -> bool:
        return self._key(name) in self.weight.state

    def _prepare(self, like: Tensor) -> None:
        """Make the state that is not there yet."""
        group, state, kept, _ = self.weight
        if not self.has("mean") and group["betas"][0] > 0:
            state[self._key("mean")] = torch.zeros_like(like, dtype=kept)
        if not self.has("square") and (self._number is None or group["grafting"] == "adam"):
            state[self._key("square")] = torch.zeros_like(like, dtype=kept)
        if self._number is not None and not self.has("left"):
            for name, n in zip(("left", "right"), like.shape):
                state[self._key(name)] = like.new_zeros(n, n, dtype=kept)
                state[self._key(f"{name}_root")] = torch.eye(n, dtype=kept, device=like.device)

    def _mean(self) -> Tensor:
        """The gradients' mean, its bias corrected."""
        return (self["mean"] if self.has("mean") else self._gradient) / self.weight.corrections[0]

    def plain(self) -> Tensor:
        """The update of the grafted method."""
        if not self.has("square"):
            return self._mean()
        square = self["square"] / self.weight.corrections[1]
        update: Tensor = self._mean() / (square.sqrt() + self.weight.group["grafting_eps"])
        return update

    def update(self) -> tuple[Tensor, Tensor | None]:
        """The update, and where it is to be grafted its norm and that of the plain one."""
        if not has_started(self.weight.group):
            return self.plain(), None
        update: Tensor = self["left_root"] @ self._mean() @ self["right_root"]
        if not self.weight.is_grafted:
            return update, None
        return update, torch.stack([torch.linalg.vector_norm(each) for each in (update, self.plain())])


def updates_of(own: Round, numbers: list[int], steps: dict[Block, BlockStep]) -> dict[Block, Tensor]:
    """The updates of some weights' blocks that are owned here, grafted weight by weight.

    A grafted update has the norm of the plain one; one of zeros stays as it is.
    """
    updates: dict[Block, Tensor] = {}
    norms: dict[Block, Tensor] = {}
    weights: dict[int, list[Block]] = {}
    for block in own.exchange.route(numbers).blocks:
        if block in steps:
            updates[block], found = steps[block].update()
            if found is not None:
                norms[block] = found
        if own.requests[block.parameter].details.is_grafted:
            weights.setdefault(block.parameter, []).append(block)
    # A block's owner knows its norms; those of a weight of several are put together, the others' as zeros.
    several = [block for blocks in weights.values() if len(blocks) > 1 for block in blocks]
    if several and not own.exchange.alone:
        none = own.returns.new_zeros(2)
        together = own.exchange.sum(torch.stack([norms.get(block, none) for block in several]))
        norms.update(zip(several, together.unbind()))
    for blocks in weights.values():
        if here := [block for block in blocks if block in updates]:
            each = [norms[block] for block in blocks]
            total = torch.linalg.vector_norm(torch.stack(each), dim=0) if len(each) > 1 else each[0]
            factor = total[1] / nonzero(total[0])
            updates.update((block, updates[block] * factor) for block in here)
    return updates


def factors_of(state: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
    """The factors of a weight's blocks that are here, each with its root, in the order of the blocks."""
    blocks = sorted(int(name.partition(".")[2]) for name in state if name.startswith("left."))
    return [
        (state[f"{side}.{block}"], state[f"{side}_root.{block}"])
        for block in blocks
        for side in ("left", "right")
    ]


def restored(saved: dict[str, Any], weight: Tensor, owned: list[int]) -> dict[str, Any]:
    """What a process needs of a weight's saved state: that of the blocks it owns, in the kept precision.

    Raises ValueError where the state lacks one of them.
    """
    kept = accumulation_dtype(weight.dtype)
    wanted = {f".{block}" for block in owned}
    state = {}
    for name, value in saved.items():
        _, dot, number = name.partition(".")
        if not dot or dot + number in wanted:
            dtype = torch.float32 if name == "step" else kept
            state[name] = _as_placed(value.to(weight.device, dtype, copy=True), weight, name)
    missing = [block for block in owned if f"left.{block}" not in state]
    if missing and saved:
        raise ValueError(
            f"state_dict must have the blocks {missing} of a weight of shape {tuple(weight.shape)}, which "
            f"this process owns; torch.distributed.checkpoint puts together what several processes have saved"
        )
    return state


def _as_placed(value: Tensor, weight: Tensor, name: str) -> Tensor:
    """State of a sharded vector, saved whole by a single process, as this process's shard."""
    if name not in ("mean", "square") or not is_distributed(weight) or is_distributed(value):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(weight, DTensor)
    return distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None)
