"""Inverse of a general square matrix."""

from typing import NamedTuple

import torch
from torch import Tensor

from ._interface.op import exported_as_op
from ._interface.options import RuleLike
from ._interface.results import History
from ._interface.run import run
from ._iteration.basis import Polynomial
from ._iteration.form import Form
from ._iteration.linear_algebra import adjoint, commutator, identity_like, identity_minus, rms_norm
from ._iteration.scaling import nonzero, relative_norm


class InverseState(NamedTuple):
    """X → A⁻¹; the residual is measured against A itself."""

    X: Tensor
    A: Tensor


class InverseForm(Form[Tensor]):
    """X ← X g(R), R = I - AX, from X = Aᴴ/c: X → A⁻¹."""

    name = "inv"
    p = 1

    def spectrum(self, A: Tensor) -> Tensor:
        return torch.bmm(A, adjoint(A))

    def start(self, A: Tensor, bound: Tensor) -> InverseState:
        return InverseState(adjoint(A) / nonzero(bound), A)

    def residual(self, state: InverseState, identity: Tensor) -> Tensor:
        return identity_minus(identity, state.A, state.X)

    def update(self, state: InverseState, polynomial: Polynomial, last: bool) -> InverseState:
        return InverseState(polynomial.after(state.X), state.A)

    def results(self, state: InverseState, magnitude: Tensor, bound: Tensor) -> tuple[Tensor, ...]:
        return (state.X / magnitude,)

    @staticmethod
    def deviation(A: Tensor, scale: Tensor, p: int, *results: Tensor) -> tuple[Tensor, Tensor]:
        X, identity = results[0] * scale, identity_like(A)
        commuted, AX = commutator(A, X)
        left = identity_minus(identity, X, A)
        return torch.maximum(rms_norm(identity - AX), rms_norm(left)), relative_norm(commuted, AX)


@exported_as_op()
def inv(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool = False,
) -> Tensor | tuple[Tensor, History]:
    """Inverse of a general square matrix by Chebyshev's iteration.

    X → A⁻¹ by X ← X g(I - AX) from X = Aᴴ/c; degree=1 is Newton–Schulz, degree=2 Chebyshev.
    The residual starts from AAᴴ, so the steps needed are those of the squared condition number.

    Args:
        A: `[..., n, n]`, float64, float32, complex128, complex64, bfloat16 or float16 (half precision
            is computed in float32; on TF32 see `polar`).
        steps, tol, condition, degree, rule, scaling, sketch_size, seed, gradient, history: see `polar`;
            of the rules, the tables do not serve p = 1.

    Returns:
        A⁻¹ `[..., n, n]`; with `history`, `(inverse, History)`. A singular A shows as a residual that
        stays above 0; a zero matrix gives non-finite values. XA may be further from I than AX, by up to the
        condition number; the last residual is of the worse side.

    Cost: 3 products of n·n·n per step (degree=1: 2, and one more in the first with Schatten scaling).

    Source: Yang et al., arXiv 2601.22137, Part I.

    Example:
        >>> import torch, prism_compile
        >>> A = torch.tensor([[4.0, 1.0], [2.0, 3.0]])
        >>> torch.allclose(A @ prism_compile.inv(A), torch.eye(2), atol=1e-5)
        True
    """
    return run(InverseForm, **locals())
