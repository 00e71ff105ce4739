"""Inverse of a general square matrix."""

import torch
from torch import Tensor

from ._arguments import check_matrix
from ._export import exported_as_op
from ._iteration.forms import ReciprocalForm
from ._iteration.loop import Record, iterate
from ._iteration.scaling import ScaledSpectrum, frobenius_norm, magnitude, nonzero, scale_spectrum
from ._options import Options, options_for
from ._results import History
from ._run import run_on_batch


def _solve_inverse(A: Tensor, options: Options) -> tuple[tuple[Tensor], Record]:
    scale = magnitude(A)
    A = A / nonzero(scale)

    def begin() -> tuple[Tensor, ScaledSpectrum]:
        adjoint = A.transpose(-1, -2)
        spectrum = scale_spectrum(torch.bmm(A, adjoint), options, frobenius_bound=frobenius_norm(A).square())
        return adjoint / nonzero(spectrum.bound), spectrum

    X, _, record = iterate(ReciprocalForm(A), begin, options)
    return (X / scale,), record


@exported_as_op
def inv(
    A: Tensor,
    *,
    steps: int = 10,
    degree: int = 2,
    rule: str = "prism",
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool = False,
) -> Tensor | tuple[Tensor, History]:
    """Inverse of a general square matrix by Chebyshev's iteration.

    X → A⁻¹ by X ← X g(I - AX) from X = Aᵀ/c; degree=1 is Newton–Schulz, degree=2 Chebyshev.
    The residual starts from AAᵀ, so the steps needed are those of the squared condition number.

    Args:
        A: `[..., n, n]`, float64, float32, bfloat16 or float16 (half precision is computed in float32).
        steps, degree, rule, scaling, sketch_size, seed, gradient, history: see `polar`;
            of the rules, "prism" and "taylor" serve p = 1.

    Returns:
        A⁻¹ `[..., n, n]`; with `history`, `(inverse, History)`. A singular A shows as a residual that
        stays above 0; a zero matrix gives non-finite values.

    Raises:
        TypeError, ValueError: naming the argument, what it was and what is allowed.

    Cost: 3 products of n·n·n per step (degree=1: 2, and one more in the first with Schatten scaling).

    Source: Yang et al., arXiv 2601.22137, Part I.

    Example:
        >>> import torch, prism_compile
        >>> A = torch.tensor([[4.0, 1.0], [2.0, 3.0]])
        >>> torch.allclose(A @ prism_compile.inv(A), torch.eye(2), atol=1e-5)
        True
    """
    options = options_for(1, steps, degree, rule, scaling, sketch_size, seed, gradient, history)
    check_matrix(A, square=True)
    return run_on_batch(_solve_inverse, A, options)
