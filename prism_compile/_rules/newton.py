"""The coefficient of a step with an inverse, the paper's: the exact minimiser of the next residual's norm.

With x² the values of M, R = I - M and D = R² M⁻¹ = M⁻¹ - 2I + M, a step takes R to (1 - 2α) R - α² D, and

    ‖(1 - 2α) R - α² D‖_F² = (1 - 2α)² ⟨R, R⟩ - 2 (1 - 2α) α² ⟨R, D⟩ + α⁴ ⟨D, D⟩.

The inner products are of the matrices themselves, with no sketch. Each value alone wants α = x/(1 + x), and
bears no more than about n^(1/4) times that: the minimiser is of the order of the least x. With
ν = ‖M⁻¹‖_F^(1/2), 1/x of that to n^(1/4), a = αν is between 1/4 and a few √n. Source: arXiv 2601.22137.
"""

import torch
from torch import Tensor

from .._iteration.basis import Coefficients
from .._iteration.linear_algebra import real_entries
from .minimum import refined

# Of a; four points an octave, to n = 1e6.
_LOWEST, _OCTAVES, _POINTS = -3, 14, 4


def mixture(alpha: Tensor) -> Coefficients:
    """(1 - α) I + α M⁻¹ in the basis I, M⁻¹ - I."""
    return Coefficients(1.0, alpha, 0.0)


def newton_coefficient(R: Tensor, D: Tensor, nu: Tensor) -> Tensor:
    """α `[b, 1, 1]` in (0, 1] for R and D/ν² `[b, n, n]`, ν `[b, 1, 1]`."""
    R, D = real_entries(R), real_entries(D)
    RR, RD, DD = ((A * B).sum(dim=(-2, -1), keepdim=True) for A, B in ((R, R), (R, D), (D, D)))
    first = RR / nu
    loss = [-4 * first, 4 * first / nu - 2 * RD, 4 * RD / nu, DD]
    exponents = torch.arange(_OCTAVES * _POINTS + 1, dtype=R.dtype, device=R.device) / _POINTS + _LOWEST
    grid = torch.minimum(torch.exp2(exponents), nu)
    values = grid * (loss[0] + grid * (loss[1] + grid * (loss[2] + grid * loss[3])))
    a = grid.gather(-1, values.argmin(dim=-1, keepdim=True))
    cell = 2 ** (1 / _POINTS)
    a = refined(loss, a, a / cell, torch.minimum(a * cell, nu))
    # Where nothing is left to do, as near it: the classical step.
    return torch.where(RR > 0, a / nu, 0.5)
