"""The one-coefficient fit: minimise a sketched residual norm over an interval, without a branch.

    α = argmin ‖S h(R; α)‖_F²,  α in [c_d, UPPER[d]·c_d],  h(r; α) = 1 - (1 - r) g(r; α)^p

With δ = α - c_d the loss is a polynomial of degree 2p in δ whose coefficients are linear in the
moments. Source: arXiv 2601.22137, Part II.
"""

import torch
from torch import Tensor

from .polynomials import free_width, loss_weights, taylor_coefficients

_GRID = 32
_NEWTON_STEPS = 3


def loss_polynomial(moments: Tensor, p: int, degree: int) -> Tensor:
    """Coefficients of the loss in δ, lowest first: `[b, 2p + 1]` from moments `[b, K, K]`."""
    weights = torch.tensor(loss_weights(p, degree), dtype=moments.dtype, device=moments.device)
    return moments.flatten(1) @ weights.T


def _horner(coefficients: list[Tensor], x: Tensor) -> Tensor:
    value = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        value = torch.addcmul(coefficient, value, x)
    return value


def _derivative(coefficients: list[Tensor]) -> list[Tensor]:
    return [k * c for k, c in enumerate(coefficients)][1:]


def minimise_on_interval(loss: Tensor, width: float) -> Tensor:
    """Minimiser in [0, width] of polynomials `[b, order + 1]` (lowest coefficient first), `[b, 1]`.

    A grid finds the right valley and Newton steps, held inside its cell, find its floor: near
    convergence the loss is a parabola, for which one Newton step is exact. A loss that is flat because
    the moments underflowed, or that overflowed, gives 0: the classical step.
    """
    coefficients = list(loss.split(1, dim=-1))
    cell = width / _GRID
    grid = torch.arange(_GRID + 1, device=loss.device, dtype=loss.dtype) * cell
    lowest = _horner(coefficients, grid).argmin(dim=-1, keepdim=True).to(loss.dtype) * cell
    lower, upper = (lowest - cell).clamp(min=0), (lowest + cell).clamp(max=width)
    slope = _derivative(coefficients)
    curvature = _derivative(slope)
    x = lowest
    for _ in range(_NEWTON_STEPS):
        bend = _horner(curvature, x)
        step = _horner(slope, x) / torch.where(bend > 0, bend, torch.inf)
        x = torch.minimum(torch.maximum(x - step, lower), upper)
    return torch.where(loss.sum(dim=-1, keepdim=True).isfinite(), x, torch.zeros_like(x))


def fit_coefficient(moments: Tensor, p: int, degree: int) -> Tensor:
    """The fitted α of each matrix, `[b, 1, 1]`, from its moments `[b, K, K]`, K = degree·p + 2."""
    taylor = taylor_coefficients(p, degree)[degree]
    shift = minimise_on_interval(loss_polynomial(moments, p, degree), free_width(p, degree))
    return (taylor + shift).unsqueeze(-1)


def fit_scalar(residuals: list[float], p: int, degree: int) -> float:
    """The fit with exact moments, for a spectrum of residuals in plain Python."""
    count = degree * p + 2
    moments = [sum(r**k for r in residuals) for k in range(2 * count - 1)]
    pairs = [moments[i + j] for i in range(count) for j in range(count)]
    loss = [sum(w * m for w, m in zip(row, pairs)) for row in loss_weights(p, degree)]
    width, cells = free_width(p, degree), 64 * _GRID

    def value(k: int) -> float:
        return sum(c * (k * width / cells) ** s for s, c in enumerate(loss))

    return taylor_coefficients(p, degree)[degree] + min(range(cells + 1), key=value) * width / cells
