"""Square roots and inverse roots of symmetric (semi)definite matrices."""

from functools import partial

from torch import Tensor

from ._arguments import check_damping, check_matrix
from ._export import exported_as_op
from ._iteration.forms import CoupledForm, CoupledState, RootForm, RootState
from ._iteration.loop import Record, iterate
from ._iteration.scaling import (
    ScaledSpectrum,
    frobenius_norm,
    identity_like,
    magnitude,
    nonzero,
    scale_spectrum,
)
from ._options import Options, check_integer, options_for
from ._results import History, SqrtPair
from ._run import run_on_batch


def _damp(A: Tensor, eps: float) -> Tensor:
    """A + eps·tr(A)/n·I."""
    if eps == 0:
        return A
    n = max(A.shape[-1], 1)
    mean = (A.diagonal(dim1=-2, dim2=-1) / n).sum(dim=-1)[:, None, None]
    return A + eps * mean * identity_like(A)


def _scaled(A: Tensor, scale: Tensor, options: Options) -> tuple[Tensor, ScaledSpectrum]:
    """A/c and its spectrum, A divided by its magnitude `scale` first."""
    A = A / nonzero(scale)
    spectrum = scale_spectrum(A, options, frobenius_bound=frobenius_norm(A))
    return A / nonzero(spectrum.bound), spectrum


def _solve_sqrt(A: Tensor, options: Options, wants: tuple[str, ...]) -> tuple[tuple[Tensor, ...], Record]:
    scale = magnitude(A)

    def begin() -> tuple[CoupledState, ScaledSpectrum]:
        M, spectrum = _scaled(A, scale, options)
        return CoupledState(M, None), spectrum

    (X, Y), bound, record = iterate(CoupledForm(wants), begin, options)
    # A zero matrix has scale 0: its square root is 0, its inverse square root not finite.
    root = scale.sqrt() * nonzero(bound).sqrt()
    sqrt = (X * root,) if "sqrt" in wants else ()
    inv_sqrt = (Y / root,) if "inv_sqrt" in wants else ()
    return sqrt + inv_sqrt, record


def _solve_inverse_root(A: Tensor, options: Options) -> tuple[tuple[Tensor], Record]:
    scale = magnitude(A)

    def begin() -> tuple[RootState, ScaledSpectrum]:
        M, spectrum = _scaled(A, scale, options)
        return RootState(None, M), spectrum

    (X, _), bound, record = iterate(RootForm(options.p), begin, options)
    exponent = -1 / options.p
    return (X * scale**exponent * nonzero(bound) ** exponent,), record


_solve_sqrtm = partial(_solve_sqrt, wants=("sqrt",))
_solve_inv_sqrtm = partial(_solve_sqrt, wants=("inv_sqrt",))
_solve_sqrtm_pair = partial(_solve_sqrt, wants=SqrtPair._fields)


def _pair(A: Tensor, sqrt: Tensor, inv_sqrt: Tensor) -> SqrtPair:
    return SqrtPair(sqrt, inv_sqrt)


@exported_as_op
def sqrtm(
    A: Tensor,
    *,
    eps: float = 0.0,
    steps: int = 10,
    degree: int = 2,
    rule: str = "prism",
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool = False,
) -> Tensor | tuple[Tensor, History]:
    """Principal square root of a symmetric positive (semi)definite matrix.

    A^(1/2), by the coupled iteration X ← X g(R), Y ← g(R) Y, R = I - YX.

    Args:
        A: `[..., n, n]`, symmetric positive (semi)definite, float64, float32, bfloat16 or float16 (half
            precision is computed in float32).
        eps: relative damping ≥ 0; `eps · tr(A)/n` is added to the diagonal.
        rule: as in `polar`, but "prism" by default; "adaptive" serves the inverse square root better.
        steps, degree, scaling, sketch_size, seed, gradient, history: see `polar`.

    Returns:
        A^(1/2) `[..., n, n]`; with `history`, `(root, History)`. An indefinite A diverges or keeps a
        residual above 0. So does a singular one, whose zero eigenvalues rounding may make negative: the root
        is good to √(machine epsilon) for about 10 steps, then needs `eps`.

    Raises:
        TypeError, ValueError: naming the argument, what it was and what is allowed.

    Cost: 4·steps - 3 products of n·n·n (degree=1: 3·steps - 2); 2 (2) for a single step.

    Source: Yang et al., arXiv 2601.22137, Part I; Higham, Functions of Matrices, ch. 6.

    Example:
        >>> import torch, prism_compile
        >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
        >>> S = prism_compile.sqrtm(A)
        >>> torch.allclose(S @ S, A, atol=1e-5)
        True
    """
    options = options_for(2, steps, degree, rule, scaling, sketch_size, seed, gradient, history)
    check_matrix(A, square=True)
    check_damping(eps)
    return run_on_batch(_solve_sqrtm, A, options, prepare=partial(_damp, eps=eps))


@exported_as_op
def inv_sqrtm(
    A: Tensor,
    *,
    eps: float = 0.0,
    steps: int = 10,
    degree: int = 2,
    rule: str = "prism",
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool = False,
) -> Tensor | tuple[Tensor, History]:
    """Inverse principal square root of a symmetric positive definite matrix.

    A^(-1/2), from the same coupled iteration as `sqrtm`.

    Args:
        A: `[..., n, n]`, symmetric positive definite, float64, float32, bfloat16 or float16 (half
            precision is computed in float32).
        eps: relative damping ≥ 0; `eps · tr(A)/n` is added to the diagonal.
        rule: as in `polar`, but "prism" by default; "adaptive" is better in few steps where A
            is well within its type: eigenvalues that rounding made negative diverge sooner.
        steps, degree, scaling, sketch_size, seed, gradient, history: see `polar`.

    Returns:
        A^(-1/2) `[..., n, n]`; with `history`, `(root, History)`. A singular or indefinite A shows as a
        residual that stays above 0 or as NaN; a zero matrix gives non-finite values.

    Raises:
        TypeError, ValueError: naming the argument, what it was and what is allowed.

    Cost: 4·steps - 3 products of n·n·n (degree=1: 3·steps - 2).

    Source: Yang et al., arXiv 2601.22137, Part I; Higham, Functions of Matrices, ch. 6.

    Example:
        >>> import torch, prism_compile
        >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
        >>> Z = prism_compile.inv_sqrtm(A)
        >>> torch.allclose(Z @ A @ Z, torch.eye(2), atol=1e-5)
        True
    """
    options = options_for(2, steps, degree, rule, scaling, sketch_size, seed, gradient, history)
    check_matrix(A, square=True)
    check_damping(eps)
    return run_on_batch(_solve_inv_sqrtm, A, options, prepare=partial(_damp, eps=eps))


@exported_as_op
def sqrtm_pair(
    A: Tensor,
    *,
    eps: float = 0.0,
    steps: int = 10,
    degree: int = 2,
    rule: str = "prism",
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool = False,
) -> SqrtPair | tuple[SqrtPair, History]:
    """Principal square root and inverse square root from one coupled run.

    A^(1/2) and A^(-1/2), by X ← X g(R), Y ← g(R) Y, R = I - YX.

    Args:
        A: `[..., n, n]`, symmetric positive definite, float64, float32, bfloat16 or float16 (half
            precision is computed in float32).
        eps: relative damping ≥ 0; `eps · tr(A)/n` is added to the diagonal.
        rule: as in `polar`, but "prism" by default; "adaptive" is better for the inverse root only.
        steps, degree, scaling, sketch_size, seed, gradient, history: see `polar`.

    Returns:
        `SqrtPair(sqrt, inv_sqrt)`, each `[..., n, n]`; with `history`, `(SqrtPair, History)`. For what bad
        input gives see `sqrtm` and `inv_sqrtm`.

    Raises:
        TypeError, ValueError: naming the argument, what it was and what is allowed.

    Cost: 4·steps - 2 products of n·n·n (degree=1: 3·steps - 1).

    Source: Yang et al., arXiv 2601.22137, Part I; Higham, Functions of Matrices, ch. 6.

    Example:
        >>> import torch, prism_compile
        >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
        >>> root, inverse_root = prism_compile.sqrtm_pair(A)
        >>> torch.allclose(root @ inverse_root, torch.eye(2), atol=1e-5)
        True
    """
    options = options_for(2, steps, degree, rule, scaling, sketch_size, seed, gradient, history)
    check_matrix(A, square=True)
    check_damping(eps)
    return run_on_batch(_solve_sqrtm_pair, A, options, prepare=partial(_damp, eps=eps), finish=_pair)


@exported_as_op
def inv_root(
    A: Tensor,
    p: int,
    *,
    eps: float = 0.0,
    steps: int = 10,
    degree: int = 2,
    rule: str = "prism",
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool = False,
) -> Tensor | tuple[Tensor, History]:
    """Inverse p-th root of a symmetric positive definite matrix.

    A^(-1/p), by the coupled inverse Newton iteration X ← X g(R), M ← g(R)^p M, R = I - M.

    Args:
        A: `[..., n, n]`, symmetric positive definite, float64, float32, bfloat16 or float16 (half
            precision is computed in float32).
        p: order of the root, an int ≥ 1.
        eps: relative damping ≥ 0; `eps · tr(A)/n` is added to the diagonal.
        rule: as in `polar`, but "prism" by default; tables and "adaptive" serve p = 2 only.
        steps, degree, scaling, sketch_size, seed, gradient, history: see `polar`.

    Returns:
        A^(-1/p) `[..., n, n]`; with `history`, `(root, History)`. A singular or indefinite A shows as a
        residual that stays above 0 or as NaN; a zero matrix gives non-finite values.

    Raises:
        TypeError, ValueError: naming the argument, what it was and what is allowed.

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
    p = check_integer("p", p, 1)
    options = options_for(p, steps, degree, rule, scaling, sketch_size, seed, gradient, history)
    check_matrix(A, square=True)
    check_damping(eps)
    return run_on_batch(_solve_inverse_root, A, options, prepare=partial(_damp, eps=eps))
