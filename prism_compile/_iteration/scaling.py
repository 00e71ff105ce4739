"""Scaling that puts the spectrum in (0, 1] with no spectral bound from the caller.

Schatten norms bound the spectral radius ever more tightly: ρ(M)⁴ ≤ ‖M²‖_F², and the product M² is one
that the first step needs anyway. Frobenius scaling is the paper's and the peers'.
"""

import math

import torch
from torch import Tensor

from .basis import Basis
from .linear_algebra import adjoint, frobenius_norm, is_known, real_entries
from .precision import accumulation_dtype


def nonzero(scale: Tensor) -> Tensor:
    """The scale with zeros replaced by one, so that a zero matrix divides to zero and not to NaN."""
    return torch.where(scale == 0, torch.ones_like(scale), scale)


def magnitude(A: Tensor) -> Tensor:
    """A power of two within a factor of two of the largest |entry|, `[b, 1, 1]`; 0 for a zero matrix.

    Of complex entries the larger part counts, for the modulus of the largest numbers overflows.
    Dividing by it before anything is squared keeps 1e±30 in float32 from overflowing or vanishing.
    """
    dtype = accumulation_dtype(A.dtype)
    if is_known(A.shape[-1] == 0) or is_known(A.shape[-2] == 0):
        return torch.zeros(A.shape[0], 1, 1, dtype=dtype, device=A.device)
    largest = real_entries(A.detach()).abs().amax(dim=(-2, -1), keepdim=True).to(dtype)
    # The logarithm of the largest numbers rounds up to an exponent that the type has no power of two for.
    highest = math.frexp(torch.finfo(dtype).max)[1] - 1
    return torch.exp2(torch.floor(torch.log2(largest)).clamp(max=highest))


def relative_norm(error: Tensor, A: Tensor) -> Tensor:
    """‖E‖_F/‖A‖_F of each matrix, `[b]`, 0 for zero ones; no derivative flows through it."""
    return (frobenius_norm(error) / nonzero(frobenius_norm(A)))[:, 0, 0]


def relative_asymmetry(A: Tensor) -> Tensor:
    """‖A - Aᴴ‖_F/‖A‖_F of each matrix, `[b]`."""
    return relative_norm(A - adjoint(A), A)


def enlarged(bound: Tensor, margin: float) -> Tensor:
    """The bound times a margin, and a few ulps, for a matrix of rank one attains it and may round up."""
    return bound * (margin * (1 + 8 * torch.finfo(bound.dtype).eps))


def schatten_bound(squared: Tensor, margin: float) -> Tensor:
    """A bound c on the spectral radius of M `[b, n, n]`, from M²."""
    return enlarged(frobenius_norm(squared) ** 0.5, margin)


def scaled_basis(M: Tensor, squared: Tensor | None, identity: Tensor, bound: Tensor) -> Basis:
    """The basis of M over a bound, from M and M², and no product; squared None: the basis without R²."""
    shrink = 1 / nonzero(bound)
    # In half precision too in float32 until the end: R and R² from scales that were rounded apart would not
    # belong to one spectrum, and a first step multiplies the difference by up to 20.
    scaled = M * shrink
    residual = identity - scaled
    if squared is None:
        return Basis(identity, residual.to(M.dtype), None)
    product = squared * (shrink * shrink) - scaled + residual
    return Basis(identity, residual.to(M.dtype), product.to(M.dtype))
