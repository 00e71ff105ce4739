"""The scaling: bounds that hold, and the basis that comes with them."""

import math

import pytest
import torch

from prism_compile._iteration.linear_algebra import frobenius_norm
from prism_compile._iteration.newton import bound_near_one
from prism_compile._iteration.scaling import enlarged, magnitude, nonzero, scaled_basis, schatten_bound

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


def test_schatten_bound_holds_and_is_tighter():
    for M in (spd(30, 10.0), with_eigenvalues(torch.ones(30, dtype=F64)), torch.ones(4, 4, dtype=F64)):
        top = torch.linalg.matrix_norm(M, 2).item()
        M, squared, identity = M[None], (M @ M)[None], torch.eye(len(M), dtype=F64)
        bound = schatten_bound(squared, 1.0)
        assert top <= bound.item() <= M[0].trace().item() * (1 + 1e-14)
        residual = identity - M / bound
        basis = scaled_basis(M, squared, identity, bound)
        torch.testing.assert_close(basis.residual, residual)
        torch.testing.assert_close(basis.squared, residual @ residual)
        assert scaled_basis(M, None, identity, bound).squared is None


@pytest.mark.parametrize("spread", [0.0, 1e-15, 2e-12, 1e-9, 1e-4, 0.3])
def test_a_bound_near_one_holds_for_what_is_within_a_rounding_of_it(spread):
    """Of R² computed as zero it was too low: tables multiply by ten a step what exceeds one."""
    values = 1 + spread * torch.linspace(0.5, 1, 16, dtype=F64)
    M, identity = with_eigenvalues(values)[None], torch.eye(16, dtype=F64)
    for squared in (torch.bmm(M, M), None):
        bound = bound_near_one(M, squared, identity)
        assert bound.item() >= torch.linalg.eigvalsh(M).max().item()
        # n^(1/4) of R² at most, and √n of R itself; at its own rounding of ε a value the norm is √n of that.
        assert bound.item() - 1 <= 16**0.5 * spread + 1e-14


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_first_basis_is_of_one_spectrum_in_half_precision(dtype):
    """R and R² are each within a rounding of those of one matrix M/c."""
    M = spd(24, 10.0).to(dtype)[None]
    squared = torch.bmm(M, M)
    bound = schatten_bound(squared, 1.0)
    basis = scaled_basis(M, squared, torch.eye(24, dtype=dtype), bound)
    assert bound.dtype == torch.float32
    assert basis.residual.dtype == basis.squared.dtype == dtype
    scaled, twice = M.double() / bound.double(), squared.double() / bound.double() ** 2
    eps = torch.finfo(dtype).eps
    exact = torch.eye(24, dtype=F64) - scaled
    assert (basis.residual.double() - exact).abs().max() <= 0.51 * eps
    assert (basis.squared.double() - (exact - scaled + twice)).abs().max() <= 0.51 * eps


def test_frobenius_uses_the_given_bound_and_margin():
    bound = torch.tensor([[[2.0]]])
    assert enlarged(bound, 1.0).item() == pytest.approx(2.0)
    assert enlarged(bound, 1.01**2).item() == pytest.approx(2.0 * 1.01**2)
    # Of rank one the norm is the spectral radius: rounding must not leave it above the bound.
    A = gaussian(40, 1, dtype=torch.float32)
    M = (A @ A.T)[None]
    radius = torch.linalg.matrix_norm(M.double(), 2).item()
    assert radius <= enlarged(frobenius_norm(M), 1.0).item() <= radius * (1 + 1e-5)
