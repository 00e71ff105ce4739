"""Square root and inverse square root of symmetric or Hermitian (semi)definite matrices."""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ._interface.op import exported_as_op
from ._interface.options import RuleLike
from ._interface.results import History, SqrtPair
from ._interface.run import run
from ._iteration.basis import Mixture, Polynomial
from ._iteration.form import Form, Result
from ._iteration.linear_algebra import identity_minus, inverse, plus_product, quotient, rms_of_root
from ._iteration.rule import Options
from ._iteration.scaling import nonzero, relative_asymmetry, relative_norm


class CoupledState(NamedTuple):
    """X → (A/c)^(1/2) and Y → (A/c)^(-1/2); None stands for the identity, or for one not wanted."""

    X: Any
    Y: Any


class CoupledForm(Form[Result]):
    """X ← X g(R), Y ← g(R) Y, R = I - YX, from X = A/c, Y = I; `wants` names the roots the caller reads.

    With an inverse g = (1 - α) I + α M⁻¹, M = YX: the product form of the Denman–Beavers iteration.
    The order of the factors matters: the iteration is stable as written and not in others (Higham, Functions
    of Matrices, ch. 6).
    """

    squared = False
    wants: ClassVar[tuple[str, ...]]

    def spectrum(self, A: Tensor) -> Tensor:
        return A

    def start(self, A: Tensor, bound: Tensor) -> CoupledState:
        return CoupledState(A / nonzero(bound), None)

    def residual(self, state: CoupledState, identity: Tensor) -> Tensor:
        return identity - state.X if state.Y is None else identity_minus(identity, state.Y, state.X)

    def update(self, state: CoupledState, polynomial: Polynomial, last: bool) -> CoupledState:
        X = Y = None
        if not last or "sqrt" in self.wants:
            X = polynomial.after(state.X)
        if not last or "inv_sqrt" in self.wants:
            Y = polynomial.matrix() if state.Y is None else polynomial.times(state.Y)
        return CoupledState(X, Y)

    def inverse(self, state: CoupledState, M: Tensor) -> Tensor:
        return inverse(M)

    def mixed(self, state: CoupledState, mixture: Mixture, last: bool) -> CoupledState:
        g, X, Y = mixture.of(mixture.identity), None, None
        if state.Y is None:
            # X is M itself: the product with its inverse would only add rounding.
            X = (1 - mixture.alpha) * state.X + mixture.alpha * mixture.identity
            return CoupledState(X, g)
        if not last or "sqrt" in self.wants:
            X = torch.bmm(state.X, g)
        if not last or "inv_sqrt" in self.wants:
            Y = torch.bmm(g, state.Y)
        return CoupledState(X, Y)

    def rescaled(self, state: CoupledState, bound: Tensor) -> CoupledState:
        # The root of the bound divides both, so that XY⁻¹ stays A.
        shrink = bound.rsqrt()
        return CoupledState(state.X * shrink, state.Y * shrink)

    def results(self, state: CoupledState, magnitude: Tensor, bound: Tensor) -> tuple[Tensor, ...]:
        # A zero matrix has magnitude 0: its square root is 0, its inverse square root not finite.
        root = magnitude.sqrt() * nonzero(bound).sqrt()
        sqrt = (state.X * root,) if "sqrt" in self.wants else ()
        inv_sqrt = (state.Y / root,) if "inv_sqrt" in self.wants else ()
        return sqrt + inv_sqrt

    @classmethod
    def deviation(cls, A: Tensor, scale: Tensor, p: int, *results: Tensor) -> tuple[Tensor, Tensor]:
        residuals, root = [], scale.sqrt()
        for name, X in zip(cls.wants, results):
            if name == "sqrt":
                X = quotient(X, root)
                residuals.append(relative_norm(plus_product(A, X, X, alpha=-1), A))
            else:
                residuals.append(rms_of_root(A, X * root, 2))
        asymmetries = [relative_asymmetry(X) for X in results]
        # Unlike a comparison, the maximum keeps NaN.
        return torch.stack(residuals).amax(0), torch.stack(asymmetries).amax(0)


class SquareRootForm(CoupledForm[Tensor]):
    """A^(1/2)."""

    name = "sqrtm"
    wants = ("sqrt",)


class InverseSquareRootForm(CoupledForm[Tensor]):
    """A^(-1/2)."""

    name = "inv_sqrtm"
    wants = ("inv_sqrt",)


class PairForm(CoupledForm[SqrtPair]):
    """Both."""

    name = "sqrtm_pair"
    wants = SqrtPair._fields

    @staticmethod
    def finished(A: Tensor, options: Options, *results: Tensor) -> SqrtPair:
        return SqrtPair(*results)


@exported_as_op()
def sqrtm(
    A: Tensor,
    *,
    eps: float = 0.0,
    ridge: float = 0.0,
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
    """Principal square root of a symmetric or Hermitian positive (semi)definite matrix.

    A^(1/2), by the coupled iteration X ← X g(R), Y ← g(R) Y, R = I - YX.

    Args:
        A: `[..., n, n]`, symmetric or Hermitian positive (semi)definite, float64, float32, complex128,
            complex64, bfloat16 or float16 (half precision is computed in float32; on TF32 see `polar`).
        eps, ridge: relative and absolute damping ≥ 0; the root is that of A + (eps·tr(A)/n + ridge) I. An A
            that may be singular needs an eps of 8nε and more, with ε the machine epsilon of the type that it
            was formed in, under autocast bfloat16's: an inverse root of low rank is then off by at most 1e-2
            in the 10 steps of the default, with more damping by less in proportion, and with a fourth of it
            by 0.4. A ridge serves matrices that may be zero.
        newton_steps: as in `polar`, by the product form of the Denman–Beavers iteration: X ← X g, Y ← g Y,
            g = (1 - α) I + α M⁻¹, M = YX.
        steps, tol, condition, degree, rule, scaling, sketch_size, seed, gradient, history: see `polar`.

    Returns:
        A^(1/2) `[..., n, n]`; with `history`, `(root, History)`. An indefinite A diverges or keeps a
        residual above 0. The root of a singular one is good to √(machine epsilon), from 40 steps on with
        `eps` only, for rounding makes zero eigenvalues negative.

    Cost: 4·steps - 3 products of n·n·n (degree=1: 3·steps - 2); 2 (2) for a single step.
        A Newton step is an inverse and two products, the first has none.

    Source: Yang et al., arXiv 2601.22137, Part I; Higham, Functions of Matrices, ch. 6.

    Example:
        >>> import torch, prism_compile
        >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
        >>> S = prism_compile.sqrtm(A)
        >>> torch.allclose(S @ S, A, atol=1e-5)
        True
    """
    return run(SquareRootForm, **locals())


@exported_as_op()
def inv_sqrtm(
    A: Tensor,
    *,
    eps: float = 0.0,
    ridge: float = 0.0,
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
    """Inverse principal square root of a symmetric or Hermitian positive definite matrix.

    A^(-1/2), from the same coupled iteration as `sqrtm`.

    Args:
        A: `[..., n, n]`, symmetric or Hermitian positive definite, float64, float32, complex128,
            complex64, bfloat16 or float16 (half precision is computed in float32; on TF32 see `polar`).
        eps, ridge, newton_steps: see `sqrtm`; the others: see `polar`.

    Returns:
        A^(-1/2) `[..., n, n]`; with `history`, `(root, History)`. A singular or indefinite A shows as a
        residual that stays above 0 or as NaN; a zero matrix gives non-finite values.

    Cost: 4·steps - 3 products of n·n·n (degree=1: 3·steps - 2).
        A Newton step is an inverse and two products, the first has none.

    Source: Yang et al., arXiv 2601.22137, Part I; Higham, Functions of Matrices, ch. 6.

    Example:
        >>> import torch, prism_compile
        >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
        >>> Z = prism_compile.inv_sqrtm(A)
        >>> torch.allclose(Z @ A @ Z, torch.eye(2), atol=1e-5)
        True
    """
    return run(InverseSquareRootForm, **locals())


@exported_as_op()
def sqrtm_pair(
    A: Tensor,
    *,
    eps: float = 0.0,
    ridge: float = 0.0,
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
) -> SqrtPair | tuple[SqrtPair, History]:
    """Principal square root and inverse square root from one coupled run.

    A^(1/2) and A^(-1/2), by X ← X g(R), Y ← g(R) Y, R = I - YX.

    Args:
        A: `[..., n, n]`, symmetric or Hermitian positive definite, float64, float32, complex128,
            complex64, bfloat16 or float16 (half precision is computed in float32; on TF32 see `polar`).
        eps, ridge, newton_steps: see `sqrtm`; the others: see `polar`.

    Returns:
        `SqrtPair(sqrt, inv_sqrt)`, each `[..., n, n]`; with `history`, `(SqrtPair, History)`. For what bad
        input gives see `sqrtm` and `inv_sqrtm`.

    Cost: 4·steps - 2 products of n·n·n (degree=1: 3·steps - 1).
        A Newton step is an inverse and two products, the first has none.

    Source: Yang et al., arXiv 2601.22137, Part I; Higham, Functions of Matrices, ch. 6.

    Example:
        >>> import torch, prism_compile
        >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
        >>> root, inverse_root = prism_compile.sqrtm_pair(A)
        >>> torch.allclose(root @ inverse_root, torch.eye(2), atol=1e-5)
        True
    """
    return run(PairForm, **locals())
