"""Random matrices with given singular values or eigenvalues, float64 but where a dtype is asked for."""

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


def dressed(values: ndarray, normal: Normal, symmetric: bool = False) -> tuple[ndarray, ndarray, ndarray]:
    """Matrices `[..., n, n]` with these singular values `[..., n]`, and their left and right vectors.

    The vectors are columns, those of Gaussian matrices by QR. symmetric: whether left and right are the same,
    so that the values are eigenvalues.
    """
    shape = (*values.shape, values.shape[-1])
    left = numpy.linalg.qr(normal(shape))[0]
    right = left if symmetric else numpy.linalg.qr(normal(shape))[0]
    return (left * values[..., None, :]) @ right.swapaxes(-1, -2), left, right


def _torch_normal(seed: int) -> Normal:
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, dtype=torch.float64, generator=generator).numpy()


def with_singular_values(values: ndarray, seed: int = 0) -> Tensor:
    """A matrix of each row of values."""
    return torch.from_numpy(dressed(values, _torch_normal(seed))[0])


def with_eigenvalues(values: ndarray, seed: int = 0) -> Tensor:
    """A symmetric matrix of each row of values, which may be negative."""
    return symmetrised(torch.from_numpy(dressed(values, _torch_normal(seed), symmetric=True)[0]))


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
