"""Scaling that puts the spectrum in (0, 1] with no spectral bound from the caller.

Schatten norms bound the spectral radius ever more tightly: ρ(M)⁴ ≤ ‖M²‖_F², and the product M² is one
that the first step needs anyway. Frobenius scaling is the paper's and the peers'.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .._options import Options
from .precision import accumulation_dtype


class ScaledSpectrum(NamedTuple):
    """M/c and its residual: `bound` c `[b, 1, 1]`, `residual` R = I - M/c, `square` R² where formed.

    identity: the `[n, n]` one, made once for the whole run.
    """

    bound: Tensor
    residual: Tensor
    square: Tensor | None
    identity: Tensor


def nonzero(scale: Tensor) -> Tensor:
    """The scale with zeros replaced by one, so that a zero matrix divides to zero and not to NaN."""
    return torch.where(scale == 0, torch.ones_like(scale), scale)


def magnitude(A: Tensor) -> Tensor:
    """A power of two within a factor of two of the largest |entry|, `[b, 1, 1]`; 0 for a zero matrix.

    Dividing by it before anything is squared keeps 1e±30 in float32 from overflowing or vanishing.
    """
    dtype = accumulation_dtype(A.dtype)
    if A.shape[-1] == 0 or A.shape[-2] == 0:
        return torch.zeros(A.shape[0], 1, 1, dtype=dtype, device=A.device)
    largest = A.detach().abs().amax(dim=(-2, -1), keepdim=True).to(dtype)
    return torch.exp2(torch.floor(torch.log2(largest)))


def frobenius_norm(A: Tensor) -> Tensor:
    """‖A‖_F of each matrix, `[b, 1, 1]`, accumulated in at least float32; a constant to derivatives."""
    dtype = accumulation_dtype(A.dtype)
    return torch.linalg.vector_norm(A.detach(), dim=(-2, -1), keepdim=True, dtype=dtype)


def identity_like(A: Tensor) -> Tensor:
    """The n×n identity of A's dtype and device, for `A: [..., n]`."""
    n = A.shape[-1]
    if not torch.compiler.is_compiling():
        return torch.eye(n, dtype=A.dtype, device=A.device)
    # Inductor does not vectorise eye's comparison of integers, nor then what it fuses with it.
    index = torch.arange(n, dtype=torch.float32, device=A.device)
    return (index[:, None] == index).to(A.dtype)


def scale_spectrum(M: Tensor, options: Options, frobenius_bound: Tensor) -> ScaledSpectrum:
    """Bound the spectral radius of M and form the residual of M/c and, for degree 2, its square.

    M: `[b, n, n]`, eigenvalues ≥ 0; frobenius_bound: the bound used by `scaling="frobenius"`. The square
    costs no product beyond M².
    """
    needs_square = options.degree == 2
    schatten = options.scaling == "schatten"
    squared = torch.bmm(M, M) if needs_square or schatten else None
    bound = frobenius_norm(squared) ** 0.5 if schatten else frobenius_bound
    # A rule's margin is one of singular values, the bound one of their squares.
    margin = options.rule.margin**2
    # Rank one attains the bound: a few ulps keep its scaled eigenvalue from rounding past one.
    bound = bound * (margin * (1 + 8 * torch.finfo(bound.dtype).eps))
    shrink = (1 / nonzero(bound)).to(M.dtype)
    identity = identity_like(M)
    scaled = M * shrink
    residual = identity - scaled
    if not needs_square:
        return ScaledSpectrum(bound, residual, None, identity)
    square = residual - scaled + squared * shrink * shrink
    return ScaledSpectrum(bound, residual, square, identity)
