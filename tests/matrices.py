"""Test matrices with known spectra, and float64 SVD/eigh oracles."""

import torch
from torch import Tensor

F64 = torch.float64


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=generator(seed)).to(dtype)


def orthogonal(n: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(gaussian(n, n, seed=seed))[0]


def log_spaced(n: int, condition: float) -> Tensor:
    """n values from 1 down to 1/condition, evenly spaced in the logarithm."""
    return torch.logspace(0, -torch.log10(torch.tensor(condition, dtype=F64)).item(), n, dtype=F64)


def with_singular_values(values: Tensor, m: int, n: int, seed: int = 0) -> Tensor:
    k = values.numel()
    return (orthogonal(m, seed)[:, :k] * values) @ orthogonal(n, seed + 1)[:, :k].T


def with_eigenvalues(values: Tensor, seed: int = 0) -> Tensor:
    Q = orthogonal(values.numel(), seed)
    A = (Q * values) @ Q.T
    return (A + A.T) / 2


def spd(n: int, condition: float, seed: int = 0) -> Tensor:
    return with_eigenvalues(log_spaced(n, condition), seed)


def svd_polar(A: Tensor) -> Tensor:
    W, _, Vt = torch.linalg.svd(A.to(F64), full_matrices=False)
    return W @ Vt


def eigh_power(A: Tensor, exponent: float) -> Tensor:
    values, Q = torch.linalg.eigh(A.to(F64))
    return (Q * values.clamp(min=0).pow(exponent).unsqueeze(-2)) @ Q.mT


def relative_error(result: Tensor, expected: Tensor) -> float:
    """Largest relative Frobenius error over a batch."""
    difference = torch.linalg.matrix_norm(result.to(F64) - expected)
    return (difference / torch.linalg.matrix_norm(expected)).max().item()


def rms_orthogonality(U: Tensor) -> float:
    """rms of 1 - σ over the singular values of U."""
    return (torch.linalg.svdvals(U.to(F64)) - 1).square().mean().sqrt().item()
