"""Matrix sign."""

import torch
from torch import Tensor

from ._interface.op import exported_as_op
from ._interface.options import RuleLike
from ._interface.results import History
from ._interface.run import run
from ._iteration.basis import Mixture, Polynomial
from ._iteration.form import Form
from ._iteration.linear_algebra import (
    commutator,
    frobenius_norm,
    identity_like,
    identity_minus,
    inverse,
    rms_norm,
    trace,
)
from ._iteration.scaling import nonzero, relative_norm


class SignForm(Form[Tensor]):
    """X ← X g(R), R = I - X², from X = A/√c: X → sign(A); with an inverse X ← (1 - α) X + α X⁻¹."""

    name = "signm"
    rule = "prism"

    def spectrum(self, A: Tensor) -> Tensor:
        return torch.bmm(A, A)

    def start(self, A: Tensor, bound: Tensor) -> Tensor:
        return A * nonzero(bound).rsqrt()

    def residual(self, state: Tensor, identity: Tensor) -> Tensor:
        return identity_minus(identity, state, state)

    def update(self, state: Tensor, polynomial: Polynomial, last: bool) -> Tensor:
        return polynomial.after(state)

    def inverse(self, state: Tensor, M: Tensor) -> Tensor:
        return inverse(state)

    def mixed(self, state: Tensor, mixture: Mixture, last: bool) -> Tensor:
        return mixture.of(state)

    def rescaled(self, state: Tensor, bound: Tensor) -> Tensor:
        return self.start(state, bound)

    def results(self, state: Tensor, magnitude: Tensor, bound: Tensor) -> tuple[Tensor, ...]:
        return (state,)

    @staticmethod
    def deviation(A: Tensor, scale: Tensor, p: int, *results: Tensor) -> tuple[Tensor, Tensor]:
        (S,) = results
        commuted, AS = commutator(A, S)
        # Every involution that commutes with A has I - S² = 0. Of sign(A) it is Re tr(AS) = Σ |Re λ|.
        shortfall = (trace(A).abs() - trace(AS)).clamp(min=0)
        shortfall = (shortfall / nonzero(frobenius_norm(A) * frobenius_norm(S)))[:, 0, 0]
        residual = rms_norm(identity_minus(identity_like(S), S, S))
        return torch.maximum(residual, shortfall), relative_norm(commuted, AS)


@exported_as_op()
def signm(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool = False,
) -> Tensor | tuple[Tensor, History]:
    """Matrix sign of a square matrix whose eigenvalues are real and not zero.

    sign(A) = A (A²)^(-1/2), by X ← X g(I - X²).

    Args:
        A: `[..., n, n]`, float64, float32, complex128, complex64, bfloat16 or float16 (half precision
            is computed in float32; on TF32 see `polar`). It need not be symmetric or Hermitian.
        rule: as in `polar`, but None is "prism". The tables take steps too steep for a matrix that is not
            normal: of 300 random ones of condition 30, with upper parts of 0.3 times the size of their
            eigenvalues, ten steps of "adaptive" leave 24 without a sign, of "prism" none. Where A is
            symmetric or Hermitian "adaptive" is better.
        newton_steps: as in `polar`, with X⁻¹ for X⁻ᴴ. Where all steps are Newton's, the eigenvalues may be
            complex; only those on the imaginary axis have no sign. Jordan blocks of six and more rows may
            be missed, which the residual shows.
        steps, tol, condition, degree, scaling, sketch_size, seed, gradient, history: see `polar`.

    Returns:
        sign(A) `[..., n, n]`; with `history`, `(sign, History)`. Complex eigenvalues are outside what the
        polynomials are for, and some may end at the wrong sign, with S² = I. The last residual sees that by
        Re tr(AS) ≥ |Re tr(A)|, always for a real A of n = 2; of 600 random real ones of n = 8 it missed four.

    Cost: 3 products of n·n·n per step (degree=1: 2, and one more in the first with Schatten scaling).
        A Newton step is an inverse and a product; before the first there is one more.

    Source: Yang et al., arXiv 2601.22137, Part I; Higham, Functions of Matrices, ch. 5.

    Example:
        >>> import torch, prism_compile
        >>> S = prism_compile.signm(torch.tensor([[3.0, 1.0], [0.0, -2.0]]))
        >>> torch.allclose(S, torch.tensor([[1.0, 0.4], [0.0, -1.0]]), atol=1e-5)
        True
    """
    return run(SignForm, **locals())
