"""The one-coefficient fit: minimise a sketched residual norm over an interval, without a branch.

    α = argmin ‖S h(R; α)‖_F²,  α in [c_d, UPPER[d]·c_d],  h(r; α) = 1 - (1 - r) g(r; α)^p

With δ = α - c_d, h = Σ_k δ^k w_k(r) and the loss is a polynomial of degree 2p in δ, whose coefficients are
sums of the inner products ⟨S w_i(R), S w_j(R)⟩. All constants are Python numbers: a constant tensor would
not survive the decomposition of an exported op. Source: arXiv 2601.22137, Part II.
"""

import torch
from torch import Tensor

from . import labels
from .polynomials import free_width, residual_rows, taylor_coefficients
from .precision import accumulation_dtype

_GRID = 32
_NEWTON_STEPS = 2


def _combination(row: tuple[float, ...], blocks: list[Tensor]) -> Tensor:
    """Σ_j row[j] blocks[j], skipping zeros."""
    terms = [(c, block) for c, block in zip(row, blocks) if c]
    total = terms[0][0] * terms[0][1]
    for c, block in terms[1:]:
        total = torch.add(total, block, alpha=c)
    return total


def loss_polynomial(blocks: list[Tensor], p: int, degree: int) -> list[Tensor]:
    """Half the loss but for its constant: coefficients of δ to δ^2p, each `[b, 1, 1]`; blocks `[b, q, n]`.

    The inner products are sums, not matrix products: Inductor makes one kernel of all of them.
    """
    powers = [block.to(accumulation_dtype(block.dtype)) for block in blocks]
    responses = [_combination(row, powers) for row in residual_rows(p, degree)]
    with labels.phase("moments"):
        coefficients = []
        for order in range(1, 2 * p + 1):
            term = None
            for i in range(max(0, order - p), (order + 1) // 2):
                product = responses[i], responses[order - i]
                term = torch.mul(*product) if term is None else torch.addcmul(term, *product)
            if order % 2 == 0:
                half = responses[order // 2] * 0.5
                square = half, responses[order // 2]
                term = torch.mul(*square) if term is None else torch.addcmul(term, *square)
            coefficients.append(term.sum(dim=(-2, -1), keepdim=True))
    return coefficients


def _horner(coefficients: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Value and derivative of a polynomial of degree two or more."""
    value, derivative = coefficients[-1], None
    for coefficient in reversed(coefficients[:-1]):
        derivative = value if derivative is None else torch.addcmul(value, derivative, x)
        value = torch.addcmul(coefficient, value, x)
    return value, derivative


def minimise_on_interval(loss: list[Tensor], width: float) -> Tensor:
    """Minimiser in [0, width] of polynomials without constant, coefficients `[b, 1, 1]`, lowest first.

    A grid finds the right valley and Newton steps, held inside its cell, find its floor: near
    convergence the loss is a parabola, for which one Newton step is exact. A loss that is flat because
    the moments underflowed, or that overflowed, gives 0: the classical step.
    """
    dtype, device = loss[0].dtype, loss[0].device
    cell = width / _GRID
    grid = torch.arange(_GRID + 1, device=device, dtype=dtype) * cell
    x = (_horner(loss, grid)[0] * grid).argmin(dim=-1, keepdim=True).to(dtype) * cell
    lower, upper = (x - cell).clamp(min=0), (x + cell).clamp(max=width)
    slope = [loss[0], *(k * c for k, c in enumerate(loss[1:], 2))]
    for _ in range(_NEWTON_STEPS):
        downhill, bend = _horner(slope, x)
        # Where the loss is not convex the step is as long as the cell allows.
        x = (x - downhill / bend.clamp(min=torch.finfo(dtype).tiny)).clamp(lower, upper)
    return x.nan_to_num(nan=0.0)


def fit_coefficient(blocks: list[Tensor], p: int, degree: int) -> Tensor:
    """The fitted α of each matrix, `[b, 1, 1]`, from its degree·p + 2 Krylov blocks `[b, q, n]`."""
    taylor = taylor_coefficients(p, degree)[degree]
    shift = minimise_on_interval(loss_polynomial(blocks, p, degree), free_width(p, degree))
    return taylor + shift


def fit_scalar(residuals: list[float], p: int, degree: int) -> float:
    """The fit for a known spectrum of residuals, in plain Python."""
    rows = residual_rows(p, degree)
    responses = [[sum(c * r**j for j, c in enumerate(row)) for row in rows] for r in residuals]
    loss = [0.0] * (2 * p + 1)
    for response in responses:
        for i, x in enumerate(response):
            for j, y in enumerate(response):
                loss[i + j] += x * y
    width, cells = free_width(p, degree), 64 * _GRID

    def value(k: int) -> float:
        return sum(c * (k * width / cells) ** s for s, c in enumerate(loss))

    return taylor_coefficients(p, degree)[degree] + min(range(cells + 1), key=value) * width / cells
