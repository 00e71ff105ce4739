"""Newton's steps, with an inverse: the values x of the state go to (1 - α) x + α/x.

With M the matrix of the x² (YX, XᵀX or X²) and R = I - M,

    M ← (1 - α)² M + 2α(1 - α) I + α² M⁻¹,      R ← (1 - 2α) R - α² R² M⁻¹.

An α in (0, 1] changes no sign, and one step raises the least x to the root of it: no bound is needed before.
M is carried and not R, which would round small values of M away. Inverses are carried over their magnitude:
what would overflow, M⁻¹ and its square, is multiplied by a small α first.
Source: Higham, Functions of Matrices, ch. 6 (the product form of the Denman–Beavers iteration), 5 and 8.
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from . import labels
from .basis import Coefficients, Mixture
from .form import Form
from .linear_algebra import frobenius_norm, identity_like, quotient, rms_norm
from .scaling import magnitude, nonzero, with_room


class NewtonRule(Protocol):
    """What the steps ask of a rule; `_rules/rule.py` says more."""

    def newton(self, step: int, R: Tensor, D: Tensor, nu: Tensor) -> Coefficients: ...


class NewtonOptions(Protocol):
    """What they ask of a call's options."""

    @property
    def steps(self) -> int: ...

    @property
    def newton_steps(self) -> int: ...

    @property
    def rule(self) -> NewtonRule: ...

    @property
    def history(self) -> bool: ...


class Log(NamedTuple):
    """What a run notes: of each step coefficients, rms residual, and coefficients for the state itself."""

    coefficients: list[Coefficients]
    residuals: list[Tensor]
    polynomials: list[Coefficients]


def _step(
    form: Form, state: Any, M: Tensor, identity: Tensor, R: Tensor, step: int, rule: NewtonRule
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
        chosen = rule.newton(step, R.detach(), D.detach(), nu)
        alpha = chosen.g1
        assert isinstance(alpha, Tensor)
    kept = 1 - alpha
    M = kept * kept * M + (2 * alpha * kept) * identity + (alpha * nu).square() * M_inverse
    return Mixture(identity, alpha, alpha * scale, inverse), chosen, M


def newton_steps(
    form: Form, A: Tensor, options: NewtonOptions, log: Log
) -> tuple[Any, Tensor, Tensor, Tensor, Tensor]:
    """The first `options.newton_steps` steps: the state, A's magnitude, the bound, M and the identity."""
    with labels.phase("scaling"):
        A, scale = form.prepare(A)
        bound = with_room(form.frobenius_bound(A), 1.0)
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
            if options.history:
                log.polynomials.append(chosen)
            with labels.phase("update"):
                last = step == options.steps - 1 and not options.history
                state = form.mixed(state, mixture, last)
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
