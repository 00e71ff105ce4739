"""Random matrices of known values, the functions by a decomposition, and how far a result is from exact.

Given float64 the decompositions are what results are held against; given single precision they are what would
be used instead, and are timed.
"""

from collections.abc import Callable

import numpy
import torch
from numpy import ndarray
from torch import Tensor

# Standard normal numbers of a shape, others at every call.
Normal = Callable[[tuple[int, ...]], ndarray]


def log_spaced(n: int, condition: float) -> ndarray:
    """From 1 down to 1/condition, evenly spaced in the logarithm."""
    return condition ** -numpy.linspace(0, 1, n)


def dressed(values: ndarray, normal: Normal, symmetric: bool = False, rows: int | None = None) -> ndarray:
    """Matrices `[..., rows, n]` with these singular values `[..., n]`, or eigenvalues where symmetric.

    The singular vectors are those of Gaussian matrices by QR; rows: n where not given.
    """
    *batch, n = values.shape
    left = numpy.linalg.qr(normal((*batch, rows or n, n)))[0]
    right = left if symmetric else numpy.linalg.qr(normal((*batch, n, n)))[0]
    return (left * values[..., None, :]) @ right.swapaxes(-1, -2)


def _torch_normal(seed: int) -> Normal:
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, dtype=torch.float64, generator=generator).numpy()


def with_singular_values(values: ndarray, seed: int = 0, rows: int | None = None) -> Tensor:
    """A float64 matrix `[..., rows, n]` of each row of values."""
    return torch.from_numpy(dressed(values, _torch_normal(seed), rows=rows))


def with_eigenvalues(values: ndarray, seed: int = 0) -> Tensor:
    """A symmetric float64 matrix of each row of values, which may be negative."""
    return symmetrised(torch.from_numpy(dressed(values, _torch_normal(seed), symmetric=True)))


def definite(n: int, condition: float, batch: tuple[int, ...] = ()) -> Tensor:
    """Symmetric, the eigenvalues log-spaced from 1 to 1/condition."""
    return with_eigenvalues(numpy.broadcast_to(log_spaced(n, condition), (*batch, n)))


def gaussian(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Independent standard normal entries."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def gram(shape: tuple[int, ...], ridge: float) -> Tensor:
    """G Gᵀ/n + ridge·I of a Gaussian G `[..., n, n]`, float32."""
    G = gaussian(shape)
    return G @ G.mT / shape[-1] + ridge * torch.eye(shape[-1])


def symmetrised(C: Tensor) -> Tensor:
    """The symmetric part: a product or a sum of products is symmetric only up to rounding."""
    return (C + C.mT) / 2


def _single(A: Tensor) -> Tensor:
    """LAPACK knows no half precision."""
    return A if A.dtype == torch.float64 else A.float()


def svd_polar(A: Tensor) -> Tensor:
    """The polar factor by the singular value decomposition."""
    U, _, Vh = torch.linalg.svd(_single(A), full_matrices=False)
    return U @ Vh


def eigh_power(A: Tensor, exponent: float, eps: float = 0.0) -> Tensor:
    """A power of A + eps·tr(A)/n·I, A symmetric, by its eigenvalues."""
    A = _single(A)
    if eps:
        shift = eps * A.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)
        values, Q = torch.linalg.eigh(A + shift[..., None] * torch.eye(A.shape[-1]).to(A))
        # Rounding may take the lowest eigenvalue below the damping, even below zero.
        values = values.clamp(min=shift)
    else:
        values, Q = torch.linalg.eigh(A)
    return (Q * values.unsqueeze(-2) ** exponent) @ Q.mT


def eigh_sqrt_pair(A: Tensor) -> tuple[Tensor, Tensor]:
    """Square root and inverse square root from one decomposition."""
    values, Q = torch.linalg.eigh(_single(A))
    root = values.sqrt().unsqueeze(-2)
    return (Q * root) @ Q.mT, (Q / root) @ Q.mT


def _singular_values(results: Tensor) -> Tensor:
    """Float64; ∞ of a matrix that is not finite."""
    results = results.cpu().double()
    finite = results.isfinite().all(-1).all(-1, keepdim=True)
    return torch.linalg.svdvals(results.where(finite[..., None], 0.0)).where(finite, torch.inf)


def deviations(results: Tensor) -> Tensor:
    """rms(1-σ) over the singular values σ of each matrix."""
    return (1 - _singular_values(results)).square().mean(-1).sqrt()


def orthogonality_error(*results: Tensor) -> float:
    """rms(1-σ) over all singular values σ of some results `[..., m, n]`."""
    values = torch.cat([_singular_values(result).flatten() for result in results])
    return (1 - values).square().mean().sqrt().item()


def relative_errors(result: Tensor, exact: Tensor) -> Tensor:
    """‖result - exact‖_F/‖exact‖_F of each matrix, in float64."""
    gap = torch.linalg.matrix_norm(result.cpu().double() - exact)
    return gap / torch.linalg.matrix_norm(exact)


def relative_error(result: object, exact: object) -> float:
    """The largest of a batch, and of a pair."""
    if not isinstance(exact, Tensor):
        return max(relative_error(a, b) for a, b in zip(result, exact))
    return relative_errors(result, exact).max().item()
