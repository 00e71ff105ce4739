"""Single inputs on which other rules fail, and how near the default comes."""

import pytest
import torch

from .functions import FUNCTIONS
from .matrices import F64, eigh_power, relative_error, spd, svd_polar, with_singular_values

N = 64


def rbf() -> torch.Tensor:
    """Of evenly spaced points in [0, 1], singular to working precision but for what its diagonal is given."""
    points = torch.linspace(0, 1, N, dtype=F64)
    return torch.exp(-0.5 * ((points[:, None] - points) / 0.1) ** 2) + 1e-10 * torch.eye(N)


def hilbert() -> torch.Tensor:
    index = torch.arange(N, dtype=F64)
    return 1 / (1 + index[:, None] + index) + 1e-10 * torch.eye(N)


def one_tiny(tiny: float, dtype: torch.dtype = F64) -> torch.Tensor:
    values = torch.cat([torch.ones(N - 1, dtype=F64), torch.tensor([tiny], dtype=F64)])
    return with_singular_values(values, N, N).to(dtype)


@pytest.mark.parametrize(("A", "steps", "bar"), [(rbf(), 8, 1e-7), (rbf(), 10, 1e-9), (hilbert(), 10, 1e-9)])
def test_square_roots_of_kernels(A, steps, bar):
    """The root of a rounding error shows in S itself: S² is compared."""
    S = FUNCTIONS["sqrtm"](A, steps=steps)
    assert relative_error(S @ S, A) < bar


@pytest.mark.parametrize(
    ("name", "A", "exact", "steps", "bar"),
    [
        ("polar", one_tiny(1e-5, torch.float32), svd_polar, 12, 3e-6),
        ("polar", one_tiny(1e-5, torch.float32), svd_polar, 14, 3e-6),
        ("polar", one_tiny(1e-6), svd_polar, 14, 1e-9),
        ("inv", one_tiny(1e-3), torch.linalg.inv, 10, 1e-12),
        ("inv_sqrtm", spd(N, 1e6), lambda A: eigh_power(A, -0.5), 8, 1e-10),
        ("inv_sqrtm", spd(N, 1e8), lambda A: eigh_power(A, -0.5), 10, 1e-8),
    ],
)
def test_tiny_values(name, A, exact, steps, bar):
    assert relative_error(FUNCTIONS[name](A, steps=steps), exact(A)) < bar
