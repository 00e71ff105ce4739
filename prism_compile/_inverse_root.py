"""Inverse p-th root of symmetric or Hermitian definite matrices."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._interface.op import exported_as_op
from ._interface.options import RuleLike
from ._interface.results import History
from ._interface.run import run
from ._iteration.basis import Polynomial
from ._iteration.form import Form
from ._iteration.linear_algebra import rms_of_root
from ._iteration.rule import Options
from ._iteration.scaling import nonzero, relative_asymmetry


class RootState(NamedTuple):
    """X → (A/c)^(-1/p) and M = XᵖA/c → I; X None stands for the identity."""

    X: Any
    M: Tensor


class RootForm(Form[Tensor]):
    """X ← X g(R), M ← g(R)ᵖ M, R = I - M, from X = I, M = A/c: the coupled inverse Newton iteration.

    M is carried and not R, which would round small eigenvalues of M away.
    """

    name = "inv_root"
    p = None
    squared = False

    def __init__(self, A: Tensor, options: Options):
        self.order = options.p

    def spectrum(self, A: Tensor) -> Tensor:
        return A

    def start(self, A: Tensor, bound: Tensor) -> RootState:
        return RootState(None, A / nonzero(bound))

    def residual(self, state: RootState, identity: Tensor) -> Tensor:
        return identity - state.M

    def update(self, state: RootState, polynomial: Polynomial, last: bool) -> RootState:
        X = polynomial.matrix() if state.X is None else polynomial.after(state.X)
        return RootState(X, state.M if last else self._raised(polynomial, state.M))

    def _squarings(self) -> tuple[int, int]:
        """Squarings of a factor, and products with the result, that make its p-th power times a matrix."""
        squarings = (self.order & -self.order).bit_length() - 1
        rest = self.order >> squarings
        return (squarings, rest) if squarings + rest < self.order else (0, self.order)

    def _raised(self, polynomial: Polynomial, M: Tensor) -> Tensor:
        """g(R)ᵖ M by repeated squaring where that takes fewer products than p applications."""
        squarings, rest = self._squarings()
        if not squarings:
            for _ in range(self.order):
                M = polynomial.times(M)
            return M
        factor = polynomial.matrix()
        for _ in range(squarings):
            factor = torch.bmm(factor, factor)
        for _ in range(rest):
            M = torch.bmm(factor, M)
        return M

    def results(self, state: RootState, magnitude: Tensor, bound: Tensor) -> tuple[Tensor, ...]:
        exponent = -1 / self.order
        return (state.X * magnitude**exponent * nonzero(bound) ** exponent,)

    @staticmethod
    def deviation(A: Tensor, scale: Tensor, p: int, *results: Tensor) -> tuple[Tensor, Tensor]:
        X = results[0] * scale ** (1 / p)
        residual = rms_of_root(A, X, p)
        if p % 2 and p > 1:
            # An odd power keeps signs: of an indefinite A there is a root, but no principal one.
            definite = torch.linalg.cholesky_ex(X)[1] == 0
            residual = residual + torch.where(definite, 0, float("inf"))
        return residual, relative_asymmetry(X)


@exported_as_op()
def inv_root(
    A: Tensor,
    p: int,
    *,
    eps: float = 0.0,
    ridge: float = 0.0,
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
    """Inverse p-th root of a symmetric or Hermitian positive definite matrix.

    A^(-1/p), by the coupled inverse Newton iteration X ← X g(R), M ← g(R)^p M, R = I - M.

    Args:
        A: `[..., n, n]`, symmetric or Hermitian positive definite, float64, float32, complex128,
            complex64, bfloat16 or float16 (half precision is computed in float32; on TF32 see `polar`).
        p: order of the root, an int ≥ 1.
        eps, ridge: relative and absolute damping, see `sqrtm`.
        rule: as in `polar`; the tables serve p = 2 only.
        steps, tol, condition, degree, scaling, sketch_size, seed, gradient, history: see `polar`.

    Returns:
        A^(-1/p) `[..., n, n]`; with `history`, `(root, History)`. A singular or indefinite A shows as a
        residual that stays above 0, as NaN or, for odd p, as a residual of infinity, for an odd power of
        another root may be A⁻¹; a zero matrix gives non-finite values.

    Cost: steps·(2 + k) - k - 1 products of n·n·n, where k is the products of g(R)^p M: p for odd p,
        s + p/2^s for p with s factors of two (degree=1: one fewer in each step but, with Schatten
        scaling, the first).

    Source: Yang et al., arXiv 2601.22137, Part I; Guo and Higham, SIAM J. Matrix Anal. 28 (2006).

    Example:
        >>> import torch, prism_compile
        >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
        >>> Z = prism_compile.inv_root(A, 4)
        >>> torch.allclose(torch.linalg.matrix_power(Z, 4) @ A, torch.eye(2), atol=1e-4)
        True
    """
    return run(RootForm, **locals())
