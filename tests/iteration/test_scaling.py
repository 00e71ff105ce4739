"""The scaling: bounds that hold, and the basis that comes with them."""

import math

import pytest
import torch

from prism_compile._iteration.linear_algebra import frobenius_norm
from prism_compile._iteration.scaling import enlarged, magnitude, nonzero, schatten_scaling

from ..matrices import F64, gaussian, spd, with_eigenvalues


@pytest.mark.parametrize("value", [1e-45, 3e-39, 1e-30, 0.3, 1.0, 5.0, 3e38])
def test_magnitude_is_a_power_of_two_below_the_largest_entry(value):
    A = torch.tensor([[[value, 0.0], [-value / 2, 0.0]]])
    scale = magnitude(A).item()
    assert math.frexp(scale)[0] == 0.5
    assert scale <= A.max().item() < 2 * scale * (1 + 1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_magnitude_of_the_largest_number_is_finite(dtype):
    largest = torch.finfo(dtype).max
    scale = magnitude(torch.full((1, 2, 2), largest, dtype=dtype))
    assert scale.isfinite().all()
    assert largest / 2 <= scale.item() <= largest


def test_magnitude_of_complex_entries_is_that_of_the_larger_part():
    A = torch.tensor([[[3.0 + 1.0j, 2.0 - 9.0j]], [[3e38 + 3e38j, 0.0]]], dtype=torch.complex64)
    assert magnitude(A).dtype == torch.float32
    assert magnitude(A).flatten().tolist() == [8.0, 2.0**127]


def test_magnitude_of_zero_is_zero():
    assert (magnitude(torch.zeros(2, 3, 3)) == 0).all()
    assert (nonzero(magnitude(torch.zeros(2, 3, 3))) == 1).all()
    assert magnitude(torch.zeros(2, 0, 0)).shape == (2, 1, 1)


@pytest.mark.parametrize("shift", [None, 0.0, 1.0, 0.998])
def test_schatten_bound_holds_and_is_tighter(shift):
    for M in (spd(30, 10.0), with_eigenvalues(torch.ones(30, dtype=F64)), torch.ones(4, 4, dtype=F64)):
        top = torch.linalg.matrix_norm(M, 2).item()
        identity = torch.eye(len(M), dtype=F64)
        bound, basis = schatten_scaling(M[None], (M @ M)[None], identity, 1.0, shift)
        assert top <= bound.item() <= M.trace().item() * (1 + 1e-14)
        residual = identity - M / bound
        torch.testing.assert_close(basis.residual, residual)
        if shift is None:
            assert basis.quadratic is None
        else:
            torch.testing.assert_close(basis.quadratic, residual @ residual - shift * residual)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_first_basis_is_of_one_spectrum_in_half_precision(dtype):
    """R and R² are each within a rounding of those of one matrix M/c."""
    M = spd(24, 10.0).to(dtype)[None]
    squared = torch.bmm(M, M)
    bound, basis = schatten_scaling(M, squared, torch.eye(24, dtype=dtype), 1.0, 0.0)
    assert bound.dtype == torch.float32
    assert basis.residual.dtype == basis.quadratic.dtype == dtype
    scaled, twice = M.double() / bound.double(), squared.double() / bound.double() ** 2
    eps = torch.finfo(dtype).eps
    exact = torch.eye(24, dtype=F64) - scaled
    assert (basis.residual.double() - exact).abs().max() <= 0.51 * eps
    assert (basis.quadratic.double() - (exact - scaled + twice)).abs().max() <= 0.51 * eps


def test_frobenius_uses_the_given_bound_and_margin():
    bound = torch.tensor([[[2.0]]])
    assert enlarged(bound, 1.0).item() == pytest.approx(2.0)
    assert enlarged(bound, 1.01**2).item() == pytest.approx(2.0 * 1.01**2)
    # Of rank one the norm is the spectral radius: rounding must not leave it above the bound.
    A = gaussian(40, 1, dtype=torch.float32)
    M = (A @ A.T)[None]
    radius = torch.linalg.matrix_norm(M.double(), 2).item()
    assert radius <= enlarged(frobenius_norm(M), 1.0).item() <= radius * (1 + 1e-5)
