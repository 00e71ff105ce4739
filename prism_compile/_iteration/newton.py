"""Newton's steps, with an inverse: the values x of the state go to (1 - α) x + α/x.

With M the matrix of the x² (YX, XᵀX or X²) and R = I - M,

    M ← (1 - α)² M + 2α(1 - α) I + α² M⁻¹,      R ← (1 - 2α) R - α² R² M⁻¹.

An α in (0, 1] changes no sign, and one step raises the least x to the root of it: no bound is needed before.
M is carried and not R, which would round small values of M away. Inverses are carried over their magnitude:
what would overflow, M⁻¹ and its square, is multiplied by a small α first.

α is the exact minimiser of the next residual's norm, the paper's: with D = R² M⁻¹ = M⁻¹ - 2I + M

    ‖(1 - 2α) R - α² D‖_F² = (1 - 2α)² ⟨R, R⟩ - 2 (1 - 2α) α² ⟨R, D⟩ + α⁴ ⟨D, D⟩.

The inner products are of the matrices themselves, with no sketch. Each value alone wants α = x/(1 + x), and
bears no more than about n^(1/4) times that: the minimiser is of the order of the least x. With
ν = ‖M⁻¹‖_F^(1/2), 1/x of that to n^(1/4), a = αν is between 1/4 and a few √n.

Sources: Higham, Functions of Matrices, ch. 6 (the product form of the Denman–Beavers iteration), 5 and 8;
arXiv 2601.22137.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import labels
from .basis import Coefficients, Mixture
from .form import Form
from .linear_algebra import frobenius_norm, identity_like, quotient, real_entries, rms_norm
from .rule import Options, Rule
from .scaling import enlarged, magnitude, nonzero

# Of `refined`.
_NEWTON_STEPS = 2


def horner(coefficients: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Value and derivative of a polynomial of degree two or more."""
    value, derivative = coefficients[-1], None
    for coefficient in reversed(coefficients[:-1]):
        derivative = value if derivative is None else torch.addcmul(value, derivative, x)
        value = torch.addcmul(coefficient, value, x)
    assert derivative is not None
    return value, derivative


def refined(loss: list[Tensor], x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """x after Newton steps that are held inside [lower, upper]; loss: coefficients without constant."""
    slope = [loss[0], *(k * c for k, c in enumerate(loss[1:], 2))]
    for _ in range(_NEWTON_STEPS):
        downhill, bend = horner(slope, x)
        # Where the loss is not convex the step is as long as the cell allows.
        x = (x - downhill / bend.clamp(min=torch.finfo(x.dtype).tiny)).clamp(lower, upper)
    return x


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


class Log(NamedTuple):
    """What a run notes of each step: coefficients and, for a history, the rms residual."""

    coefficients: list[Coefficients]
    residuals: list[Tensor]


def _step(
    form: Form[Any], state: Any, M: Tensor, identity: Tensor, R: Tensor, step: int, rule: Rule
) -> tuple[Mixture, Coefficients, Tensor]:
    """The mixture of a step, its coefficients and the next M."""
    with labels.phase("inverse"):
        inverse = form.inverse(state, M)
        scale = nonzero(magnitude(inverse))
        inverse = quotient(inverse, scale)
        M_inverse = form.spectrum(inverse)
        size = nonzero(frobenius_norm(M_inverse))
        # ν, a bound on 1/x that n^(1/4) times the largest attains; M⁻¹ is carried over its square.
        M_inverse, nu = quotient(M_inverse, size), (scale if form.squared else scale.sqrt()) * size.sqrt()
    with labels.phase("fit"):
        D = M_inverse + (M - 2 * identity) / nu / nu
        chosen = rule.mixture(step) or mixture(newton_coefficient(R.detach(), D.detach(), nu))
        alpha = chosen.g1
        assert isinstance(alpha, Tensor)
    kept = 1 - alpha
    M = kept * kept * M + (2 * alpha * kept) * identity + (alpha * nu).square() * M_inverse
    return Mixture(identity, alpha, alpha * scale, inverse), chosen, M


def newton_steps(
    form: Form[Any], A: Tensor, options: Options, log: Log
) -> tuple[Any, Tensor, Tensor, Tensor, Tensor]:
    """The first `options.newton_steps` steps: the state, A's magnitude, the bound, M and the identity."""
    with labels.phase("scaling"):
        A, scale = form.prepare(A)
        bound = enlarged(form.frobenius_bound(A), 1.0)
        state, M, identity = (
            form.start(A, bound),
            quotient(form.spectrum(A), nonzero(bound)),
            identity_like(A),
        )
    for step in range(options.newton_steps):
        with labels.step(step):
            with labels.phase("residual"):
                R = identity - M
                if options.history:
                    log.residuals.append(rms_norm(R))
            mixture, chosen, M = _step(form, state, M, identity, R, step, options.rule)
            log.coefficients.append(chosen)
            with labels.phase("update"):
                state = form.mixed(state, mixture, last=step == options.steps - 1)
    return state, scale, bound, M, identity


def bound_near_one(M: Tensor, squared: Tensor | None, identity: Tensor) -> Tensor:
    """A bound on the spectral radius of M that is one where M is the identity, `[b, 1, 1]`.

    squared: M², or None for a bound by Frobenius norms alone.
    """
    R = identity - M
    spread = frobenius_norm(R)
    if squared is None:
        return torch.minimum(frobenius_norm(M), 1 + spread)
    # ρ(R)⁴ ≤ ‖R²‖_F². What is rounded is of the size of one, so that a small R² may come out as zero.
    rounding = 8 * torch.finfo(spread.dtype).eps * frobenius_norm(M)
    spread = torch.minimum(spread, (frobenius_norm(R - M + squared) + rounding) ** 0.5)
    return torch.minimum(frobenius_norm(squared) ** 0.5, 1 + spread)
