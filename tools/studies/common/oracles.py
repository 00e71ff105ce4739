"""The functions by a decomposition, and how far a result is from the exact one.

Given float64 these are the exact values that results are held against; given single precision they are what
would be used instead, and are timed.
"""

import torch
from torch import Tensor


def _single(A: Tensor) -> Tensor:
    """LAPACK knows no half precision."""
    return A if A.dtype == torch.float64 else A.float()


def svd_polar(A: Tensor) -> Tensor:
    """The polar factor by the singular value decomposition."""
    U, _, Vh = torch.linalg.svd(_single(A), full_matrices=False)
    return U @ Vh


def damping_of(A: Tensor, eps: float) -> Tensor:
    """eps·tr(A)/n, `[..., 1]`."""
    return eps * A.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)


def _eigh(A: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Of A + eps·tr(A)/n·I; rounding may take the lowest eigenvalue below the damping, even below zero."""
    A = _single(A)
    if not eps:
        return torch.linalg.eigh(A)
    shift = damping_of(A, eps)
    eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    values, Q = torch.linalg.eigh(A + shift.unsqueeze(-1) * eye)
    return values.clamp(min=shift), Q


def eigh_power(A: Tensor, exponent: float, eps: float = 0.0) -> Tensor:
    """A power of symmetric matrices, damped by eps·tr(A)/n, by their eigenvalues."""
    values, Q = _eigh(A, eps)
    return (Q * values.unsqueeze(-2) ** exponent) @ Q.mT


def eigh_sqrt_pair(A: Tensor) -> tuple[Tensor, Tensor]:
    """Square root and inverse square root from one decomposition."""
    values, Q = _eigh(A, 0.0)
    root = values.sqrt().unsqueeze(-2)
    return (Q * root) @ Q.mT, (Q / root) @ Q.mT


def deviations(values: Tensor) -> Tensor:
    """rms(1 - σ) over the last dimension, float64."""
    return (1 - values).double().square().mean(-1).sqrt()


def orthogonality_error(*results: Tensor) -> float:
    """rms(1-σ) over all singular values σ of some results `[..., m, n]`; ∞ where one is not finite."""
    results = tuple(result.cpu().double() for result in results)
    if not all(result.isfinite().all() for result in results):
        return float("inf")
    return deviations(torch.cat([torch.linalg.svdvals(result).flatten() for result in results])).item()


def relative_errors(result: Tensor, exact: Tensor) -> Tensor:
    """‖result - exact‖_F/‖exact‖_F of each matrix, in float64."""
    gap = torch.linalg.matrix_norm(result.cpu().double() - exact)
    return gap / torch.linalg.matrix_norm(exact)


def relative_error(result: object, exact: object) -> float:
    """The largest of a batch, and of a pair."""
    if not isinstance(exact, Tensor):
        return max(relative_error(a, b) for a, b in zip(result, exact))
    return relative_errors(result, exact).max().item()
