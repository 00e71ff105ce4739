"""What the candidates of a step are worth: tables that are linear in the moments.

⟨y⟩ and ⟨y²⟩ of all candidates are products of the moments with one table a kind of step. A table is made of
images: of every node and point, under every candidate and then the steps of equal peaks that follow it. All
kinds of a run share these.
"""

from typing import Any, TypeVar

import torch
from torch import Tensor

from ..._iteration.constants import kept_tensor, small_tensor
from .quadrature import nodes, weights_from_moments
from .quintics import CLASSICAL, COUNT, SETTLING, Quintics, followed, power, quintics
from .schedule import StepKind

# x of the hidden masses, each within reach of one step more.
_POINTS = (3.6e-3, 4e-4, 3.6e-5, 4e-6, 3.6e-7)
# The share of the loss at the end of a plan: from 0 to 0.7 `tools/tune`'s objective differs by 1 %.
_AHEAD = 0.1
# From here on moments of degree ten tell x from zero.
_RESOLVED = 0.1
_NEVER = 1e3
Number = TypeVar("Number", float, Tensor)


def blocks_of(p: int) -> int:
    """Moments to degree 4p + 2, that of y²; to degree 10 at least and 30 at most."""
    return min(max(2 * p + 2, 6), 16)


@kept_tensor
def scores(
    kinds: tuple[tuple[Any, ...], ...], p: int, room: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """`[kinds, B², 2N]`, takes moments to ⟨y⟩ and ⟨y²⟩ of every candidate, as a kind of step counts them."""
    blocks = blocks_of(p)
    found, x = quintics(p, room, dtype, device), nodes(blocks, dtype, device)
    readout = weights_from_moments(blocks, dtype, device)
    named = [StepKind(*fields) for fields in kinds]
    images = _Images(found, readout, x, p, max(kind.plan for kind in named))
    tables = []
    for kind in named:
        mean, square = images.means(kind)
        tables.append(torch.cat((mean + _preference(kind, found, blocks), square), dim=1))
    return torch.stack(tables)


class _Images:
    """What candidates, and the steps that follow them, make of nodes and points; ⟨y⟩ and ⟨y²⟩ of these."""

    def __init__(self, found: Quintics, readout: Tensor, x: Tensor, p: int, plans: int):
        points = small_tensor(_POINTS, x.dtype, x.device)
        y, low = found.image(torch.cat((x, points))[:, None], p), found.dip
        images = [y]
        while len(images) < plans:
            y, low = followed(y, low, p)
            images.append(y)
        self.images, self.squares = images, [y * y for y in images]
        self.found, self.readout, self.x, self.p = found, readout, x, p
        # How much of the spectrum lies near zero, however near.
        self.near = torch.mm(readout, _near_zero(x)[:, None])

    def means(self, kind: StepKind) -> tuple[Tensor, Tensor]:
        """As this kind of step counts them."""
        return self._planned(kind) if kind.focus is None else self._focused(kind, kind.focus)

    def _focused(self, kind: StepKind, focus: float) -> tuple[Tensor, Tensor]:
        """⟨φ y⟩ with the reward of a slope, and ⟨φ y²⟩, φ = δ + (1 - x)²."""
        count, r = self.x.shape[0], 1 - self.x
        weighted = self.readout * (focus + r**2)
        # ⟨r⁸⟩ times the slope of y at zero: what lies near zero is to rise.
        slope = kind.hidden * torch.mm(self.readout, (r**8)[:, None]) * power(self.found.q0, self.p)
        return torch.mm(weighted, self.images[0][:count]) + slope, torch.mm(weighted, self.squares[0][:count])

    def _planned(self, kind: StepKind) -> tuple[Tensor, Tensor]:
        """After the step itself; and a share of that at the end of its plan, masses included."""
        count = self.x.shape[0]
        mean, square = (torch.mm(self.readout, y[0][:count]) for y in (self.images, self.squares))
        if kind.plan == 1:
            return mean, square
        # A point that the plan does not reach is left out.
        reached = [self.near * kind.hidden if k < kind.plan else self.near * 0 for k in range(len(_POINTS))]
        weights, last = torch.cat([self.readout * _AHEAD, *reached], dim=1), kind.plan - 1
        mean = torch.addmm(mean, weights, self.images[last])
        return mean, torch.addmm(square, weights, self.squares[last])


def _near_zero(x: Tensor) -> Tensor:
    """A polynomial of degree ten that is one at zero and small from 0.1 on: (T_5(z)/T_5(z_0))²."""

    def fifth(z: Number) -> Number:
        return z * (5 - z * z * (20 - 16 * z * z))

    start = _RESOLVED
    return (fifth((1 + start - 2 * x) / (1 - start)) / fifth((1 + start) / (1 - start))) ** 2


def _preference(kind: StepKind, found: Quintics, blocks: int) -> Tensor:
    """What is added to ⟨y⟩, a multiple of ⟨1⟩, to prefer or forbid candidates: `[B², N]`."""
    number = torch.arange(COUNT + 2, device=found.q0.device)
    zero = torch.zeros_like(found.q0)
    forbidden = (found.ratio < kind.ratio) | (found.dip < kind.dip) | (number == SETTLING)
    added = torch.where(forbidden, zero - _NEVER, zero)
    added = torch.where(number == CLASSICAL, zero + kind.patience, added)
    if kind.only >= 0:
        added = torch.where(number == kind.only, zero, zero - _NEVER)
    first = torch.arange(blocks * blocks, device=zero.device)[:, None] == 0
    return torch.where(first, added, zero)
