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
from ._exchange import Exchange
from ._layout import aligned, is_distributed, local
from ._plan import Block, Box, ParameterPlan, chunk_spans, even_spans, shape_of

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
    average.mul_(beta).add_(new, alpha=1 - beta if beta < 1 else 1)


def correction(step: Tensor, beta: float, dtype: torch.dtype) -> Tensor:
    """The total weight of what a mean has taken in, 1 - beta^step; 1 for a sum and for no mean at all."""
    step = step.to(dtype)
    # expm1, as 1 - 0.999 has lost five digits in float32.
    return -torch.expm1(step * log(beta)) if 0 < beta < 1 else torch.ones_like(step)


def corrections_of(group: Group, state: dict[str, Any], kept: torch.dtype) -> tuple[Tensor, Tensor]:
    """The corrections of a weight's mean and square."""
    first, second = (correction(state["step"], beta, kept) for beta in group["betas"])
    return first, second


def has_started(group: Group) -> bool:
    """Whether a group's steps are preconditioned by now."""
    started: bool = group["count"] >= group["start_step"]
    return started


class BlockStep:
    """A step of one block of a weight, or of a vector, whose `number` is None.

    state: the weight's. kept: the dtype of state. corrections: the total weights of what the mean and the
    square have taken in.
    """

    def __init__(
        self,
        group: Group,
        state: dict[str, Any],
        number: int | None,
        gradient: Tensor,
        kept: torch.dtype,
        corrections: tuple[Tensor, Tensor],
    ):
        self.group, self._state, self._number = group, state, number
        self._gradient, self._kept, self._corrections = gradient, kept, corrections

    def _key(self, name: str) -> str:
        return name if self._number is None else f"{name}.{self._number}"

    def __getitem__(self, name: str) -> Tensor:
        return local(self._state[self._key(name)])

    def __contains__(self, name: str) -> bool:
        return self._key(name) in self._state

    def prepare(self, like: Tensor) -> None:
        """Make the state that is not there yet; `like`: the gradient, laid out as the state shall be."""
        if "mean" not in self and self.group["betas"][0] > 0:
            self._state[self._key("mean")] = torch.zeros_like(like, dtype=self._kept)
        if "square" not in self and (self._number is None or self.group["grafting"] == "adam"):
            self._state[self._key("square")] = torch.zeros_like(like, dtype=self._kept)
        if self._number is not None and "left" not in self:
            for name, n in zip(("left", "right"), like.shape):
                self._state[self._key(name)] = like.new_zeros(n, n, dtype=self._kept)
                root = torch.eye(n, dtype=self._kept, device=like.device)
                self._state[self._key(f"{name}_root")] = root

    def accumulate(self) -> None:
        """Take the gradient into the means and factors."""
        first, second = self.group["betas"]
        G = self._gradient.to(self._kept)
        if "mean" in self:
            _take_in(self["mean"], G, first)
        if "square" in self:
            _take_in(self["square"], G * G, second)
        if self._number is not None:
            scale = 1 - second if second < 1 else 1
            self["left"].addmm_(G, G.mT, beta=second, alpha=scale)
            self["right"].addmm_(G.mT, G, beta=second, alpha=scale)

    def mean(self) -> Tensor:
        """The gradients' mean, its bias corrected."""
        mean = self["mean"] if "mean" in self else self._gradient.to(self._kept)
        return mean / self._corrections[0]

    def plain(self, mean: Tensor) -> Tensor:
        """The update of the grafted method, from the mean."""
        if "square" not in self:
            return mean
        square = self["square"] / self._corrections[1]
        update: Tensor = mean / (square.sqrt() + self.group["grafting_eps"])
        return update

    def preconditioned(self, mean: Tensor) -> Tensor:
        """The mean between the inverse roots of its factors."""
        update: Tensor = self["left_root"] @ mean @ self["right_root"]
        return update


def vector_step(group: Group, state: dict[str, Any], weight: Tensor) -> BlockStep:
    """The step of a vector, as far as this process has it."""
    assert weight.grad is not None
    gradient = aligned(weight.grad, weight)
    kept = accumulation_dtype(weight.dtype)
    step = BlockStep(group, state, None, local(gradient), kept, corrections_of(group, state, kept))
    step.prepare(gradient)
    return step


def updates_of(
    exchange: Exchange,
    blocks: list[Block],
    steps: dict[Block, BlockStep],
    groups: dict[int, Group],
    like: Tensor,
) -> dict[Block, Tensor]:
    """The updates of the blocks that are owned here, grafted weight by weight.

    blocks: all of some weights; steps: of those that are owned here; groups: by the weight's number.
    """
    updates: dict[Block, Tensor] = {}
    plain: dict[Block, Tensor] = {}
    grafting = [block for block in blocks if _is_grafted(groups[block.parameter])]
    for block in blocks:
        if block in steps:
            step = steps[block]
            mean = step.mean()
            updates[block] = step.preconditioned(mean) if has_started(step.group) else step.plain(mean)
            if _is_grafted(step.group):
                plain[block] = step.plain(mean)
    updates.update(_grafted(exchange, grafting, updates, plain, like))
    return updates


def _is_grafted(group: Group) -> bool:
    return has_started(group) and group["grafting"] != "none"


def _norms(update: Tensor, plain: Tensor) -> Tensor:
    return torch.stack([torch.linalg.vector_norm(update), torch.linalg.vector_norm(plain)])


def _grafted(
    exchange: Exchange,
    blocks: list[Block],
    updates: dict[Block, Tensor],
    plain: dict[Block, Tensor],
    like: Tensor,
) -> dict[Block, Tensor]:
    """The updates of blocks, scaled weight by weight to the norm of the plain ones.

    updates, plain: of the blocks that are owned here. An update of zeros stays as it is.
    """
    weights: dict[int, list[Block]] = {}
    for block in blocks:
        weights.setdefault(block.parameter, []).append(block)
    none = like.new_zeros(2)
    norms = {block: _norms(updates[block], plain[block]) for block in plain}
    # A block's owner knows its norms; those of a weight of several are put together, the others' as zeros.
    several = [block for own in weights.values() if len(own) > 1 for block in own]
    if several and not exchange.alone:
        together = exchange.sum(torch.stack([norms.get(block, none) for block in several]))
        norms.update(zip(several, together.unbind()))
    scaled: dict[Block, Tensor] = {}
    for own in weights.values():
        if here := [block for block in own if block in plain]:
            each = [norms[block] for block in own]
            total = torch.linalg.vector_norm(torch.stack(each), dim=0) if len(own) > 1 else each[0]
            factor = total[1] / nonzero(total[0])
            scaled.update((block, updates[block] * factor) for block in here)
    return scaled


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
