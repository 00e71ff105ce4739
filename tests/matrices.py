"""Test matrices with known spectra, real and complex, and SVD/eigh oracles in 64 bits."""

import torch
from torch import Tensor

F64, C128 = torch.float64, torch.complex128


def widest(dtype: torch.dtype) -> torch.dtype:
    """The dtype that oracles of matrices of this one are computed in."""
    return C128 if dtype.is_complex else F64


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, dtype=widest(dtype), generator=generator(seed)).to(dtype)


def orthogonal(n: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    """Orthogonal, or for a complex dtype unitary."""
    return torch.linalg.qr(gaussian(n, n, seed=seed, dtype=dtype))[0]


def log_spaced(n: int, condition: float) -> Tensor:
    """n values from 1 down to 1/condition, evenly spaced in the logarithm."""
    return torch.logspace(0, -torch.log10(torch.tensor(condition, dtype=F64)).item(), n, dtype=F64)


def alternating(n: int) -> Tensor:
    """Signs, every third of them negative."""
    return torch.where(torch.arange(n) % 3 == 0, -1.0, 1.0).to(F64)


def with_singular_values(values: Tensor, m: int, n: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    k = values.numel()
    return (orthogonal(m, seed, dtype)[:, :k] * values) @ orthogonal(n, seed + 1, dtype)[:, :k].mH


def with_eigenvalues(values: Tensor, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    """Symmetric, or for a complex dtype Hermitian."""
    Q = orthogonal(values.numel(), seed, dtype)
    A = (Q * values) @ Q.mH
    return (A + A.mH) / 2


def spd(n: int, condition: float, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    return with_eigenvalues(log_spaced(n, condition), seed, dtype)


def svd_polar(A: Tensor) -> Tensor:
    W, _, Vh = torch.linalg.svd(A.to(widest(A.dtype)), full_matrices=False)
    return W @ Vh


def eigh_power(A: Tensor, exponent: float) -> Tensor:
    values, Q = torch.linalg.eigh(A.to(widest(A.dtype)))
    return (Q * values.clamp(min=0).pow(exponent).unsqueeze(-2)) @ Q.mH


def relative_errors(result: Tensor, expected: Tensor) -> Tensor:
    """Relative Frobenius errors, one for each matrix of a batch."""
    difference = torch.linalg.matrix_norm(result.to(expected.dtype) - expected)
    return difference / torch.linalg.matrix_norm(expected)


def relative_error(result: Tensor, expected: Tensor) -> float:
    """Largest relative Frobenius error over a batch."""
    return relative_errors(result, expected.to(widest(expected.dtype))).max().item()


def rms_orthogonality(U: Tensor) -> float:
    """rms of 1 - σ over the singular values of U."""
    return (torch.linalg.svdvals(U.to(F64)) - 1).square().mean().sqrt().item()
