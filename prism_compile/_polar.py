"""Polar factor and polar decomposition.

For A `[m, n]` with m ≥ n (else Aᴴ), by the odd polynomials of Yang et al., arXiv 2601.22137, Part I:

    c = a bound on the largest eigenvalue of AᴴA        `_iteration/scaling.py`
    X = A/√c                                            `start`
    repeat `steps` times:                               `_iteration/loop.py`
        R = I - XᴴX                                     `residual`
        g(R) = g0 I + g1 R + g2 R²                      coefficients by a rule, `_rules`
        X ← X g(R)                                      `update`
    U = X,  H = (UᴴA + AᴴU)/2                           `results`, `finished`

The option `newton_steps` puts steps with an inverse before these, `_iteration/newton.py`. What is around the
iteration is the same for all functions: `_interface/run.py`.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._interface.op import exported_as_op
from ._interface.options import RuleLike
from ._interface.results import History, PolarFactors
from ._interface.run import run
from ._iteration.basis import Mixture, Polynomial
from ._iteration.extremes import nearest_rotation
from ._iteration.form import Form, Result
from ._iteration.linear_algebra import (
    adjoint,
    identity_like,
    identity_minus,
    inverse,
    inverse_root_of,
    is_known,
    plus_product,
    quotient,
    rms_norm,
    symmetric,
)
from ._iteration.precision import is_half
from ._iteration.rule import Options, step_info
from ._iteration.scaling import magnitude, nonzero, relative_asymmetry


class PolarState(NamedTuple):
    """X Q → A(AᴴA)^(-1/2); residual: of X Q. None: Q is the identity, the residual is not known."""

    X: Tensor
    Q: Tensor | None = None
    residual: Tensor | None = None


# Runs of at least so many steps are for accuracy: there "auto" keeps to the direct form, for the Gram
# matrix's rounding, ε·κ², stays in the result.
_EXACT_FROM = 8


def _ends_of_segments(m: int, n: int, options: Options, dtype: torch.dtype) -> frozenset[int]:
    """The steps after which X is multiplied out and a fresh Gram matrix formed.

    A step amplifies the Gram matrix's rounding error by up to g(1)², in the directions of vanishing
    singular values; a segment ends before the error could exceed its bound. In units of 2n³ flops and with
    r = m/n, K direct steps cost K(2r + 1) and the same in S segments 2rS + 4K - 3S, less for r > 3/2.
    """
    steps = options.steps - options.newton_steps
    last = steps - 1
    gram = options.form == "gram"
    if options.form == "auto" and options.steps < _EXACT_FROM:
        gram = is_known(2 * m > 3 * n)
    if not gram:
        return frozenset(range(steps))
    eps = torch.finfo(dtype).eps
    # Direct steps at the end correct what the Gram matrices have lost.
    direct = 2 if is_half(dtype) else 1
    ends, error = {last}, eps
    for step in range(last):
        error *= options.rule.growth(step_info(options, step, dtype, True)) ** 2
        if step >= last - direct or error > options.rule.gram_error():
            ends.add(step)
            error = eps
    return frozenset(ends)


class _PolarForm(Form[Result]):
    """X ← X g(R), R = I - XᴴX, from X = A/√c, for a tall or square A, or the adjoint of a wide one.

    With an inverse, of a square A: X ← (1 - α) X + α X⁻ᴴ.

    X is multiplied out after the steps `ends`, all of them in the direct form. Between them only n×n
    matrices are touched: Q ← Q g(R), and R follows by I - R ← g(R) (I - R) g(R), the two-sided product,
    for a closed form in R amplifies rounding.
    """

    half_native = True
    rectangular = True

    def __init__(self, A: Tensor, options: Options):
        m, n = A.shape[-2:]
        # The one question about the sizes: max(m, n) would bind a graph to m > n.
        self.wide = m < n
        longer, shorter = (n, m) if self.wide else (m, n)
        self.ends = _ends_of_segments(longer, shorter, options, A.dtype)

    def prepare(self, A: Tensor) -> tuple[Tensor, Tensor]:
        tall, scale = adjoint(A) if self.wide else A, magnitude(A)
        # √m more than the magnitude keeps the Gram matrix's entries within one, also in float16.
        scaled = quotient(tall, nonzero(scale)) * inverse_root_of(tall.shape[-2], scale)
        return scaled.to(A.dtype), scale

    def spectrum(self, A: Tensor) -> Tensor:
        return torch.bmm(adjoint(A), A)

    def start(self, A: Tensor, bound: Tensor) -> PolarState:
        return PolarState((A * nonzero(bound).rsqrt()).to(A.dtype))

    def residual(self, state: PolarState, identity: Tensor) -> Tensor:
        if state.residual is not None:
            return state.residual
        return identity_minus(identity, adjoint(state.X), state.X)

    def update(self, state: PolarState, polynomial: Polynomial, last: bool) -> PolarState:
        X, Q, _ = state
        if polynomial.step in self.ends:
            return PolarState(polynomial.after(X) if Q is None else torch.bmm(X, polynomial.after(Q)))
        g = polynomial.matrix()
        half = plus_product(g, polynomial.residual, g, alpha=-1)
        residual = identity_minus(polynomial.identity, g, half)
        return PolarState(X, g if Q is None else torch.bmm(Q, g), residual)

    def inverse(self, state: PolarState, M: Tensor) -> Tensor:
        return adjoint(inverse(state.X))

    def mixed(self, state: PolarState, mixture: Mixture, last: bool) -> PolarState:
        return PolarState(mixture.of(state.X))

    def rescaled(self, state: PolarState, bound: Tensor) -> PolarState:
        return self.start(state.X, bound)

    def results(self, state: PolarState, magnitude: Tensor, bound: Tensor) -> tuple[Tensor, ...]:
        return (adjoint(state.X) if self.wide else state.X,)

    @staticmethod
    def deviation(A: Tensor, scale: Tensor, p: int, *results: Tensor) -> tuple[Tensor, Tensor]:
        U = results[0]
        if A.shape[-2] < A.shape[-1]:
            A, U = adjoint(A), adjoint(U)
        R = identity_minus(identity_like(U), adjoint(U), U)
        return rms_norm(R), relative_asymmetry(torch.bmm(adjoint(U), A))


class PolarForm(_PolarForm[Tensor]):
    """U alone, or the nearest rotation."""

    name = "polar"

    @staticmethod
    def finished(A: Tensor, options: Options, *results: Tensor) -> Tensor:
        return nearest_rotation(A, results[0]) if options.rotation else results[0]


class FactorsForm(_PolarForm[PolarFactors]):
    """U and H."""

    name = "polar_factors"

    @staticmethod
    def finished(A: Tensor, options: Options, *results: Tensor) -> PolarFactors:
        (U,) = results
        H = torch.bmm(adjoint(U), A) if options.side == "right" else torch.bmm(A, adjoint(U))
        return PolarFactors(U, symmetric(H))


def _for_any_size(A: Tensor, options: dict[str, Any]) -> dict[str, Any]:
    """Make a graph of symbolic sizes right for every size that it accepts.

    The iteration works on the smaller side, which such a graph has fixed: the orientation is asserted at run
    time, for AOTInductor drops the guards of its inputs and would iterate on the wrong side. The form "auto"
    becomes "direct": it goes by the aspect ratio, and would bind the graph to one side of it, too.
    """
    m, n = A.shape[-2:]
    wide = m < n
    margin = torch.scalar_tensor(n - m if wide else m - n, dtype=torch.int64)
    traced, lowest = ("m < n", 1) if wide else ("m ≥ n", 0)
    torch._assert_async(margin >= lowest, f"A: this graph is for matrices [..., m, n] with {traced}")
    return {**options, "form": "direct"} if options.get("form", "auto") == "auto" else options


@exported_as_op(_for_any_size)
def polar(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    form: str = "auto",
    rotation: bool = False,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool = False,
) -> Tensor | tuple[Tensor, History]:
    """Nearest matrix with orthonormal columns (rows, if wide): the orthogonal or unitary polar factor.

    U = A (AᴴA)^(-1/2) = W Vᴴ for A = W Σ Vᴴ, by X ← X g(I - XᴴX); of a real A, Aᴴ is Aᵀ.

    Args:
        A: `[..., m, n]`, float64, float32, complex128, complex64, bfloat16 or float16; computed in
            that type. Eager calls multiply float32 as IEEE says. A graph that you compile, and the backward
            pass of "unrolled", multiply as `torch.set_float32_matmul_precision` says when they run: in TF32
            polar factors and inverse roots are off by 3e-2 at condition 1e4, for 2e-5.
        steps: number of iterations, ≥ 1. None is as many as `tol` and `condition` need, else 10.
        tol, condition: in place of `steps`, the rms residual to reach, in (0, 1), and A's condition number;
            see `steps_for`.
        newton_steps: how many of them, the first, are Newton's, for a square A: X ← (1 - α) X + α X⁻ᴴ. The
            others follow from there; 0 ≤ newton_steps ≤ steps. Half precision is then computed in float32,
            and a singular A gives NaN. Their coefficient in the history is α. A GPU inverts matrices of more
            than 128 rows one after the other, for what torch has for batches waits for the device.
        degree: 1 (cubic) or 2 (quintic) step polynomial.
        rule: "minimax" (a table of equal ripple for the steps of the run), "adaptive" (from eight steps on
            the same; below, its last step is chosen for the spectrum), "prism" (one coefficient fitted),
            "taylor" (classical), a published table: "polar_express", "jordan", "you", or a table of your own:
            a sequence of rows (a, b, c) of quintics x ← a x + b x³ + c x⁵, one a step, the last repeated.
            None is "adaptive", or "prism" for degree=1.
        scaling: "schatten", "frobenius", or None for the one that the rule's source prescribes.
        form: "direct" (steps on m×n matrices), "gram" (on their n×n Gram matrices) or "auto": "gram" for
            m > 1.5 n and fewer than 8 steps, else "direct". The Gram form's U is as orthonormal, but off the
            polar factor by up to the machine epsilon times the squared condition number.
        rotation: of a real square A the nearest orthogonal matrix of determinant +1 (Procrustes, Kabsch):
            where the polar factor's is -1, it with the least singular value's direction turned round. A may
            have rank n - 1, as points in a plane give; of a lower rank the result is not orthogonal, as its
            residual shows. Half precision is then computed in float32. ONNX has no operator for the inverses
            of this and of `newton_steps`.
        sketch_size: rows of the random sketch that the fit reads the spectrum from, ≥ 1.
        seed: seed of the sketch, ≥ 0; equal seeds give equal results.
        gradient: "unrolled" (differentiate the loop) or "dual" (store nothing, run again on dual numbers). A
            table is steep: below 8 steps its derivative is of no use, from there on in float32 off by about
            1e-3, more for n below 10. That of "prism" is as exact as its value, also the second.
        history: also return the residuals and coefficients of the steps, and how near the result is to A's
            own; `History` says what, and the products that it costs.

    Returns:
        U `[..., m, n]`; with `history`, `(U, History)`. Zero singular values stay zero where they are exact,
        and grow to one in some direction where rounding perturbs them.

    Raises:
        TypeError, ValueError: naming the argument, what it was and what is allowed.

    Cost: with m ≥ n (else of Aᴴ), per direct step 4mn² + 2n³ flops: two m·n·n products, one n·n·n.
        degree=1 saves the n·n·n product in all steps but, with Schatten scaling, the first.
        In the Gram form 4mn² for each segment (in float32 two, up to 5 steps of "adaptive" or 7 of "prism")
        and 2n³ for each of 4·steps - 3·segments products; the last step is always one segment.

        A Newton step is an inverse and an n·n·n product; before the first there is one more. A rotation takes
        three inverses, two determinants and 19 products (float64: 34) besides.

    Source: Yang et al., arXiv 2601.22137, Part I (iteration), Part II ("prism") and the coefficient of
        Newton's steps, for which also Higham, Functions of Matrices, ch. 8; Amsel et al., arXiv 2505.16932
        (equal ripple for p = 2); the tables of other orders and "adaptive" are this library's own.

    Example:
        >>> import torch, prism_compile
        >>> U = prism_compile.polar(torch.randn(64, 32))
        >>> torch.allclose(U.mT @ U, torch.eye(32), atol=1e-5)
        True
    """
    return run(PolarForm, **locals())


@exported_as_op(_for_any_size)
def polar_factors(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    form: str = "direct",
    side: str = "right",
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool = False,
) -> PolarFactors | tuple[PolarFactors, History]:
    """Polar decomposition into an orthogonal or unitary and a positive semidefinite factor, H = Hᴴ.

    A = U H with U = polar(A) and H = (UᴴA + AᴴU)/2, or A = H U with H = (AUᴴ + UAᴴ)/2.

    Args:
        A: `[..., m, n]`, float64, float32, complex128, complex64, bfloat16 or float16; computed in
            that type; on TF32 see `polar`.
        form: as in `polar`, but "direct" by default: H shows what the Gram form loses.
        side: of U that H is on, as in scipy: "right" for A = U H, "left" for A = H U. Both hold for every
            shape; an H on the longer side has only the rank of A.
        steps, tol, condition, newton_steps, degree, rule, scaling, sketch_size, seed, gradient,
            history: see `polar`.

    Returns:
        `PolarFactors(U, H)`: U `[..., m, n]`, H `[..., n, n]`, or `[..., m, m]` on the left; with `history`,
        `(PolarFactors, History)`.

    Cost: `polar`'s and one m·n·n product, on the left m·m·n.

    Source: Higham, Functions of Matrices, ch. 8; the iteration as in `polar`.

    Example:
        >>> import torch, prism_compile
        >>> A = torch.randn(64, 32)
        >>> U, H = prism_compile.polar_factors(A)
        >>> torch.allclose(U @ H, A, atol=1e-4)
        True
        >>> U, H = prism_compile.polar_factors(A, side="left")
        >>> torch.allclose(H @ U, A, atol=1e-4)
        True
    """
    return run(FactorsForm, **locals())
