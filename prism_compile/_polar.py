"""Polar factor and polar decomposition."""

import torch
from torch import Tensor

from ._arguments import check_matrix
from ._export import exported_as_op
from ._iteration.forms import PolarForm, PolarState
from ._iteration.loop import Record, iterate, step_info
from ._iteration.scaling import ScaledSpectrum, frobenius_norm, magnitude, nonzero, scale_spectrum
from ._options import Options, options_for
from ._results import History, PolarFactors
from ._run import run_on_batch


def _ends_of_segments(tall: Tensor, options: Options) -> frozenset[int]:
    """The steps after which X is multiplied out and a fresh Gram matrix formed.

    A step amplifies the Gram matrix's rounding error by up to g(1)², in the directions of vanishing
    singular values; a segment ends before the error could exceed its bound. In units of 2n³ flops and with
    r = m/n, K direct steps cost K(2r + 1) and the same in S segments 2rS + 4K - 3S, less for r > 3/2.
    """
    m, n = tall.shape[-2:]
    last = options.steps - 1
    if not (options.form == "gram" or (options.form == "auto" and 2 * m > 3 * n)):
        return frozenset(range(options.steps))
    eps = torch.finfo(tall.dtype).eps
    # Direct steps at the end correct what the Gram matrices have lost.
    direct = 2 if tall.dtype in (torch.float16, torch.bfloat16) else 1
    ends, error = {last}, eps
    for step in range(last):
        error *= options.rule.growth(step_info(options, step)) ** 2
        if step >= last - direct or error > options.rule.gram_error():
            ends.add(step)
            error = eps
    return frozenset(ends)


def _solve_polar(A: Tensor, options: Options) -> tuple[tuple[Tensor], Record]:
    wide = A.shape[-2] < A.shape[-1]
    tall = A.transpose(-1, -2) if wide else A

    def begin() -> tuple[PolarState, ScaledSpectrum]:
        # √m more than the magnitude keeps the Gram matrix's entries within one, also in float16.
        X = (tall / nonzero(magnitude(tall)) * max(tall.shape[-2], 1) ** -0.5).to(A.dtype)
        gram = torch.bmm(X.transpose(-1, -2), X)
        spectrum = scale_spectrum(gram, options, frobenius_bound=frobenius_norm(X).square())
        return PolarState(X, nonzero(spectrum.bound).rsqrt().to(A.dtype)), spectrum

    form = PolarForm(_ends_of_segments(tall, options))
    state, _, record = iterate(form, begin, options)
    U = state.X
    return (U.transpose(-1, -2) if wide else U,), record


def _factors(A: Tensor, U: Tensor) -> PolarFactors:
    H = torch.bmm(U.transpose(-1, -2), A)
    return PolarFactors(U, (H + H.transpose(-1, -2)) / 2)


@exported_as_op
def polar(
    A: Tensor,
    *,
    steps: int = 10,
    degree: int = 2,
    rule: str | None = None,
    scaling: str | None = None,
    form: str = "auto",
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool = False,
) -> Tensor | tuple[Tensor, History]:
    """Nearest matrix with orthonormal columns (rows, if wide): the orthogonal polar factor.

    U = A (AᵀA)^(-1/2) = W Vᵀ for A = W Σ Vᵀ, by X ← X g(I - XᵀX).

    Args:
        A: `[..., m, n]`, float64, float32, bfloat16 or float16; computed in that type.
        steps: number of iterations, ≥ 1; `steps_for` says how many a condition number needs.
        degree: 1 (cubic) or 2 (quintic) step polynomial.
        rule: "adaptive" (all coefficients of a quintic step chosen for the spectrum), "prism" (one fitted),
            "taylor" (classical), or a fixed table: "polar_express", "jordan", "you". None is "adaptive", or
            "prism" for degree=1.
        scaling: "schatten", "frobenius", or None for the one that the rule's source prescribes.
        form: "direct" (steps on m×n matrices), "gram" (on their n×n Gram matrices) or "auto": "gram" for
            m > 1.5 n. Where singular values vanish, the Gram form mixes their directions into the others
            by up to 1e-4 in float32; on well-conditioned A it is as accurate as the direct one.
        sketch_size: rows of the random sketch that the fit reads the spectrum from, ≥ 1.
        seed: seed of the sketch, ≥ 0; equal seeds give equal results.
        gradient: "unrolled" (differentiate the loop) or "dual" (store nothing, run again on dual numbers).
        history: also return the residual and coefficient of each step.

    Returns:
        U `[..., m, n]`; with `history`, `(U, History)`. Zero singular values stay zero where they are exact,
        and grow to one in some direction where rounding perturbs them.

    Raises:
        TypeError, ValueError: naming the argument, what it was and what is allowed.

    Cost: with m ≥ n (else of Aᵀ), per direct step 4mn² + 2n³ flops: two m·n·n products, one n·n·n.
        degree=1 saves the n·n·n product in all steps but, with Schatten scaling, the first.
        In the Gram form 4mn² for each segment (in float32 two, up to 5 steps of "adaptive" or 7 of "prism")
        and 2n³ for each of 4·steps - 3·segments products; the last step is a segment of its own.

    Source: Yang et al., arXiv 2601.22137, Part I (iteration) and Part II ("prism"); "adaptive" is this
        library's own.

    Example:
        >>> import torch, prism_compile
        >>> U = prism_compile.polar(torch.randn(64, 32))
        >>> torch.allclose(U.mT @ U, torch.eye(32), atol=1e-5)
        True
    """
    if rule is None:
        rule = "prism" if degree == 1 else "adaptive"
    options = options_for(2, steps, degree, rule, scaling, sketch_size, seed, gradient, history, form)
    check_matrix(A)
    return run_on_batch(_solve_polar, A, options, half_native=True, square=False)


@exported_as_op
def polar_factors(
    A: Tensor,
    *,
    steps: int = 10,
    degree: int = 2,
    rule: str = "prism",
    scaling: str | None = None,
    form: str = "direct",
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool = False,
) -> PolarFactors | tuple[PolarFactors, History]:
    """Polar decomposition into an orthogonal and a symmetric positive semidefinite factor.

    A = U H with U = polar(A) and H = (UᵀA + AᵀU)/2.

    Args:
        A: `[..., m, n]`, float64, float32, bfloat16 or float16; computed in that type.
        rule: as in `polar`, but "prism" by default: where A is exactly rank-deficient, "adaptive" leaves
            its other singular values less exact.
        form: as in `polar`, but "direct" by default: H shows what the Gram form loses.
        steps, degree, scaling, sketch_size, seed, gradient, history: see `polar`.

    Returns:
        `PolarFactors(U, H)`: U `[..., m, n]`, H `[..., n, n]`; with `history`, `(PolarFactors, History)`.

    Raises:
        TypeError, ValueError: naming the argument, what it was and what is allowed.

    Cost: `polar`'s and one m·n·n product.

    Source: Higham, Functions of Matrices, ch. 8; the iteration as in `polar`.

    Example:
        >>> import torch, prism_compile
        >>> A = torch.randn(64, 32)
        >>> U, H = prism_compile.polar_factors(A)
        >>> torch.allclose(U @ H, A, atol=1e-4)
        True
    """
    options = options_for(2, steps, degree, rule, scaling, sketch_size, seed, gradient, history, form)
    check_matrix(A)
    return run_on_batch(_solve_polar, A, options, finish=_factors, half_native=True, square=False)
