"""The one-coefficient fit: minimise a sketched residual norm over an interval, without a branch.

    α = argmin ‖S h(R; α)‖_F²,  α in [c_d, UPPER[d]·c_d],  h(r; α) = 1 - (1 - r) g(r; α)^p

With δ = α - c_d, h = Σ_k δ^k w_k(r) and the loss is a polynomial of degree 2p in δ, whose coefficients are
sums of the inner products ⟨S w_i(R), S w_j(R)⟩. All constants are Python numbers: a constant tensor would
not survive the decomposition of an exported op. Source: arXiv 2601.22137, Part II.
"""

import torch
from torch import Tensor

from .krylov import moment_matrix
from .polynomials import free_width, residual_rows, taylor_coefficients
from .precision import accumulation_dtype

_GRID = 32
_NEWTON_STEPS = 3


def _combination(row: tuple[float, ...], blocks: list[Tensor]) -> Tensor:
    """Σ_j row[j] blocks[j], skipping zeros."""
    terms = [(c, block) for c, block in zip(row, blocks) if c]
    total = terms[0][0] * terms[0][1]
    for c, block in terms[1:]:
        total = torch.add(total, block, alpha=c)
    return total


def loss_polynomial(blocks: Tensor, p: int, degree: int) -> list[Tensor]:
    """The 2p + 1 coefficients of the loss in δ, lowest first, each `[b, 1]`; blocks `[b, K, q·n]`."""
    powers = list(blocks.to(accumulation_dtype(blocks.dtype)).unbind(1))
    responses = torch.stack([_combination(row, powers) for row in residual_rows(p, degree)], dim=1)
    moments = moment_matrix(responses)
    coefficients = []
    for order in range(2 * p + 1):
        terms = [
            (1 if i == order - i else 2) * moments[:, i, order - i, None]
            for i in range(max(0, order - p), order // 2 + 1)
        ]
        coefficients.append(sum(terms[1:], terms[0]))
    return coefficients


def _horner(coefficients: list[Tensor], x: Tensor) -> Tensor:
    value = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        value = torch.addcmul(coefficient, value, x)
    return value


def _derivative(coefficients: list[Tensor]) -> list[Tensor]:
    return [k * c for k, c in enumerate(coefficients)][1:]


def minimise_on_interval(loss: list[Tensor], width: float) -> Tensor:
    """Minimiser in [0, width] of polynomials with coefficients `[b, 1]`, lowest first; `[b, 1]`.

    A grid finds the right valley and Newton steps, held inside its cell, find its floor: near
    convergence the loss is a parabola, for which one Newton step is exact. A loss that is flat because
    the moments underflowed, or that overflowed, gives 0: the classical step.
    """
    dtype, device = loss[0].dtype, loss[0].device
    cell = width / _GRID
    grid = torch.arange(_GRID + 1, device=device, dtype=dtype) * cell
    lowest = _horner(loss, grid).argmin(dim=-1, keepdim=True).to(dtype) * cell
    lower, upper = (lowest - cell).clamp(min=0), (lowest + cell).clamp(max=width)
    slope = _derivative(loss)
    curvature = _derivative(slope)
    x = lowest
    for _ in range(_NEWTON_STEPS):
        bend = _horner(curvature, x)
        step = _horner(slope, x) / torch.where(bend > 0, bend, torch.inf)
        x = torch.minimum(torch.maximum(x - step, lower), upper)
    return torch.where(sum(loss[1:], loss[0]).isfinite(), x, torch.zeros_like(x))


def fit_coefficient(blocks: Tensor, p: int, degree: int) -> Tensor:
    """The fitted α of each matrix, `[b, 1, 1]`, from its Krylov blocks `[b, degree·p + 2, q·n]`."""
    taylor = taylor_coefficients(p, degree)[degree]
    shift = minimise_on_interval(loss_polynomial(blocks, p, degree), free_width(p, degree))
    return (taylor + shift).unsqueeze(-1)


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
