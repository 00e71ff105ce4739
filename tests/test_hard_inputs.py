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


@pytest.mark.parametrize(("A", "steps", "bar"), [(rbf(), 8, 1e-7), (rbf(), 10, 1e-9), (hilbert(), 10, 1e-9)])
def test_square_roots_of_kernels(A, steps, bar):
    """The root of a rounding error shows in S itself: S² is compared."""
    S = FUNCTIONS["sqrtm"](A, steps=steps)
    assert relative_error(S @ S, A) < bar


@pytest.mark.parametrize(
    ("dtype", "tiny", "steps", "bar"), [(torch.float32, 1e-5, 12, 3e-6), (F64, 1e-6, 14, 1e-9)], ids=str
)
def test_polar_factor_of_one_tiny_value(dtype, tiny, steps, bar):
    values = torch.cat([torch.ones(N - 1, dtype=F64), torch.tensor([tiny], dtype=F64)])
    A = with_singular_values(values, N, N).to(dtype)
    assert relative_error(FUNCTIONS["polar"](A, steps=steps), svd_polar(A)) < bar


@pytest.mark.parametrize(("condition", "steps", "bar"), [(1e6, 8, 1e-10), (1e8, 10, 1e-8)])
def test_inverse_square_roots_in_few_steps(condition, steps, bar):
    A = spd(N, condition)
    assert relative_error(FUNCTIONS["inv_sqrtm"](A, steps=steps), eigh_power(A, -0.5)) < bar
