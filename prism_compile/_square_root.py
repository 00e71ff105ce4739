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
from ._iteration.linear_algebra import identity_minus, inverse, plus_product, rms_norm
from ._iteration.precision import measured
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

    def last_residual(self, A: Tensor, bound: Tensor, state: CoupledState, identity: Tensor) -> Tensor:
        M, identity = measured(A) / nonzero(bound), measured(identity)
        Y, residuals = measured(state.Y), []
        if "inv_sqrt" in self.wants:
            residuals.append(rms_norm(identity_minus(identity, torch.bmm(Y, M), Y)))
        if "sqrt" in self.wants:
            X = measured(state.X)
            if "inv_sqrt" not in self.wants:
                residuals.append(rms_norm(identity_minus(identity, Y, X)))
            residuals.append(relative_norm(plus_product(M, X, X, alpha=-1), M))
        # Unlike a comparison, the maximum keeps NaN.
        return torch.stack(residuals).amax(0)

    def asymmetry(self, A: Tensor, state: CoupledState) -> Tensor:
        roots = [X for X, name in zip(state, SqrtPair._fields) if name in self.wants]
        return torch.stack([relative_asymmetry(X) for X in roots]).amax(0)

    def results(self, state: CoupledState, magnitude: Tensor, bound: Tensor) -> tuple[Tensor, ...]:
        # A zero matrix has magnitude 0: its square root is 0, its inverse square root not finite.
        root = magnitude.sqrt() * nonzero(bound).sqrt()
        sqrt = (state.X * root,) if "sqrt" in self.wants else ()
        inv_sqrt = (state.Y / root,) if "inv_sqrt" in self.wants else ()
        return sqrt + inv_sqrt


class SquareRootForm(CoupledForm[Tensor]):
    """A^(1/2)."""

    wants = ("sqrt",)


class InverseSquareRootForm(CoupledForm[Tensor]):
    """A^(-1/2)."""

    wants = ("inv_sqrt",)
    reads_state = False


class PairForm(CoupledForm[SqrtPair]):
    """Both."""

    wants = SqrtPair._fields

    @staticmethod
    def finished(A: Tensor, options: Options, *results: Tensor) -> SqrtPair:
        return SqrtPair(*results)


@exported_as_op()
def sqrtm(
    A: Tensor,
    *,
    eps: float = 0.0,
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
        eps: relative damping ≥ 0; `eps · tr(A)/n` is added to the diagonal.
        newton_steps: as in `polar`, by the product form of the Denman–Beavers iteration: X ← X g, Y ← g Y,
            g = (1 - α) I + α M⁻¹, M = YX.
        steps, tol, condition, degree, rule, scaling, sketch_size, seed, gradient, history: see `polar`.

    Returns:
        A^(1/2) `[..., n, n]`; with `history`, `(root, History)`. An indefinite A diverges or keeps a
        residual above 0. So does a singular one, whose zero eigenvalues rounding may make negative: the root
        is good to √(machine epsilon) for about 10 steps, then needs `eps`.

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
        eps, newton_steps: see `sqrtm`; the others: see `polar`.

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
        eps, newton_steps: see `sqrtm`; the others: see `polar`.

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
