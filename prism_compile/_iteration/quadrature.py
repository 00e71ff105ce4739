"""The spectrum of a residual as a quadrature rule: eleven fixed nodes, and weights that the sketch gives.

For x in (0, 1] with u² x the eigenvalues of I - R, and polynomials f of degree ≤ 10,

    tr(S f((I - R)/u²) Sᵀ)/(nq) = Σ_i w_i f(x_i),      x_i = (1 + cos((2i + 1) π/22))/2.

The nodes are Chebyshev's, so that the weights come from the moments ⟨T_l(2x - 1)⟩, which are at most one: no
powers of R have to be subtracted from each other, and half precision suffices. R is to be symmetric. The code
that serves `steps_for` too takes torch tensors or numpy arrays; xp is the module.
"""

from math import pi
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import labels

Array = Any

# T_0 … T_5 of two blocks give moments to degree 10.
BLOCKS = 6
MOMENTS = BLOCKS * BLOCKS
NODES = 2 * BLOCKS - 1


def chebyshev_blocks(sketch: Tensor, residual: Tensor, u: Tensor) -> list[Tensor]:
    """S T_j(Y), j < 6, each `[b, q, n]`, for Y = 2(I - R)/u² - I, whose spectrum is in (-1, 1]."""
    block = sketch.expand(residual.shape[0], *sketch.shape).to(u.dtype)
    double = 2 / (u * u)
    blocks = [block]
    for _ in range(BLOCKS - 1):
        image = torch.bmm(block.to(residual.dtype), residual)
        image = double * (block - image) - block
        block = image if len(blocks) == 1 else 2 * image - blocks[-2]
        blocks.append(block)
    return blocks


def moments_of(blocks: list[Tensor]) -> Tensor:
    """⟨S T_i, S T_j⟩/(nq), `[b, 1, 36]`."""
    with labels.phase("moments"):
        V = torch.stack(blocks, dim=1).flatten(2)
        return torch.bmm(V, V.transpose(1, 2)).flatten(1)[:, None] / max(V.shape[-1], 1)


def spectrum_moments(x: Array, xp: ModuleType) -> Array:
    """The same of known x in (0, 1], `[1, 36]`."""
    V = xp.cos(xp.arange(BLOCKS)[:, None] * xp.arccos((2 * x - 1).clip(-1, 1)))
    return (V @ V.T).reshape(1, MOMENTS) / len(x)


def nodes_at(point: Array, xp: ModuleType) -> Array:
    """x_i for i in `point`."""
    return 0.5 + 0.5 * xp.cos((point + 0.5) * (pi / NODES))


def weights_from_moments(row: Array, point: Array, xp: ModuleType) -> Array:
    """The matrix `[36, P]` that takes moments to the weights of the points, zero for points ≥ 11.

    row: 0 … 35 as a column; point: 0 … P - 1. With ⟨T_l⟩ = ⟨T_0 T_l⟩ for l ≤ 5 and
    ⟨T_(5+j)⟩ = 2⟨T_5 T_j⟩ - ⟨T_(5-j)⟩.
    """
    i, j, last = row // BLOCKS, row % BLOCKS, BLOCKS - 1
    angle = (point + 0.5) * (pi / NODES)
    low = xp.where(j == 0, 0.5, 1.0) * xp.cos(j * angle) - xp.where(j < last, 1.0, 0.0) * xp.cos(
        (2 * last - j) * angle
    )
    high = xp.where(j > 0, 2.0, 0.0) * xp.cos((last + j) * angle)
    weights = xp.where(i == 0, low, xp.where(i == last, high, 0.0 * high)) * (2 / NODES)
    return xp.where(point < NODES, weights, 0.0 * weights)
