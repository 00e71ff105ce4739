"""Shampoo's state: of each block at the process that owns it, of vectors where they are.

A weight's state is flat, by the number of each block in its grid ("mean.0", "left.0", "left_root.0", …), so
that checkpoints name the same tensors whoever owned them.
"""

from dataclasses import dataclass
from math import log
from typing import Any

import torch
from torch import Tensor

from ..._iteration.precision import accumulation_dtype
from .._shared.layout import aligned, is_distributed, local

Group = dict[str, Any]


def _decayed(average: Tensor, new: Tensor, beta: float) -> None:
    """An exponential mean, or for beta = 1 the plain sum."""
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


@dataclass(frozen=True)
class Part:
    """A block of a weight, or a vector, with its gradient.

    number: of the block; None for a vector. state: the weight's. kept: the dtype of state. corrections: the
    total weights of what the mean and the square have taken in.
    """

    group: Group
    state: dict[str, Any]
    number: int | None
    gradient: Tensor
    kept: torch.dtype
    corrections: tuple[Tensor, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return local(self.state[self._key(name)])

    def _key(self, name: str) -> str:
        return name if self.number is None else f"{name}.{self.number}"

    def has(self, name: str) -> bool:
        return self._key(name) in self.state

    def prepare(self, like: Tensor) -> None:
        """Make the state that is not there yet; `like`: the gradient, laid out as the state shall be."""
        if not self.has("mean") and self.group["betas"][0] > 0:
            self.state[self._key("mean")] = torch.zeros_like(like, dtype=self.kept)
        if not self.has("square") and (self.number is None or self.group["grafting"] == "adam"):
            self.state[self._key("square")] = torch.zeros_like(like, dtype=self.kept)
        if self.number is not None and not self.has("left"):
            for name, n in zip(("left", "right"), like.shape):
                self.state[self._key(name)] = like.new_zeros(n, n, dtype=self.kept)
                self.state[self._key(f"{name}_root")] = torch.eye(n, dtype=self.kept, device=like.device)

    def accumulate(self) -> None:
        """Take the gradient into the means and factors."""
        first, second = self.group["betas"]
        G = self.gradient.to(self.kept)
        if self.has("mean"):
            _decayed(self["mean"], G, first)
        if self.has("square"):
            _decayed(self["square"], G * G, second)
        if self.number is not None:
            scale = 1 - second if second < 1 else 1
            self["left"].addmm_(G, G.mT, beta=second, alpha=scale)
            self["right"].addmm_(G.mT, G, beta=second, alpha=scale)

    def mean(self) -> Tensor:
        """The gradients' mean, its bias corrected."""
        mean = self["mean"] if self.has("mean") else self.gradient.to(self.kept)
        return mean / self.corrections[0]

    def plain(self, mean: Tensor) -> Tensor:
        """The direction of the grafted method, from the mean."""
        if not self.has("square"):
            return mean
        square = self["square"] / self.corrections[1]
        direction: Tensor = mean / (square.sqrt() + self.group["grafting_eps"])
        return direction

    def preconditioned(self, mean: Tensor) -> Tensor:
        """The mean between the inverse roots of its factors."""
        direction: Tensor = self["left_root"] @ mean @ self["right_root"]
        return direction


def vector_part(group: Group, state: dict[str, Any], weight: Tensor) -> Part:
    """A vector's gradient and state, as far as this process has them."""
    assert weight.grad is not None
    gradient = aligned(weight.grad, weight)
    kept = accumulation_dtype(weight.dtype)
    part = Part(group, state, None, local(gradient), kept, corrections_of(group, state, kept))
    part.prepare(gradient)
    return part


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
