"""polar and polar_factors against the SVD."""

import pytest
import torch

from prism_compile import polar, polar_factors

from .matrices import (
    F64,
    gaussian,
    log_spaced,
    relative_error,
    rms_orthogonality,
    svd_polar,
    with_eigenvalues,
    with_singular_values,
)

# The polar factor of A moves by at most 2/σ_min · ‖δA‖ for a perturbation δA; an iteration commits one of
# a few n·eps·‖A‖. Where a test's matrix has condition κ, its tolerance is FACTOR·eps·κ·√n.
FACTOR = 10


def tolerance(dtype: torch.dtype, condition: float, n: int) -> float:
    return FACTOR * torch.finfo(dtype).eps * condition * n**0.5


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 7), (7, 1), (2, 2), (60, 20), (20, 60), (33, 32), (3, 5, 5, 4)]
)
def test_matches_svd(shape, dtype, degree):
    n = min(shape[-2:])
    full = shape[-2:] if len(shape) > 2 else shape
    A = with_singular_values(log_spaced(n, 10.0), *full).expand(shape).to(dtype)
    U = polar(A, steps=14, degree=degree)
    assert U.shape == A.shape
    assert U.dtype == dtype
    assert relative_error(U, svd_polar(A)) < tolerance(dtype, 10, n)


@pytest.mark.parametrize("n", [30, 200, 400])
def test_gaussian_float64_to_1e_11(n):
    A = gaussian(n, n, seed=n)
    assert relative_error(polar(A, steps=24), svd_polar(A)) < 1e-11


@pytest.mark.parametrize("shape", [(70, 50), (120, 120)])
def test_condition_3e10_is_orthogonal_to_1e_9(shape):
    condition = 3e10
    n = min(shape)
    A = with_singular_values(log_spaced(n, condition), *shape)
    U, history = polar(A, steps=40, history=True)
    assert rms_orthogonality(U) < 1e-9
    assert history.residual[-1] < 1e-9
    assert relative_error(U, svd_polar(A)) < tolerance(F64, condition, n)


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (24, 24)])
def test_rank_deficient_reconstructs(shape):
    A = with_singular_values(log_spaced(10, 10.0), *shape)
    for dtype in (torch.float64, torch.float32):
        U, H = polar_factors(A.to(dtype), steps=20)
        assert U.isfinite().all()
        assert H.isfinite().all()
        assert relative_error(U @ H, A) < 1e-6
        # Directions that rounding created may still be on their way up to one.
        assert torch.linalg.svdvals(U).max() < 1.25


@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-30, 1e-12, 1e30, 1e37])
def test_float32_scale_does_not_matter(scale):
    # Below 1e-38 the entries are denormal: what is left of the input is the oracle's input too.
    A = (with_singular_values(log_spaced(20, 10.0), 50, 20) * scale).float()
    condition = torch.linalg.cond(A.double() / scale).item()
    assert relative_error(polar(A, steps=14), svd_polar(A)) < tolerance(
        torch.float32, min(condition, 1e3), 20
    )


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e150, 1e300])
def test_float64_scale_does_not_matter(scale):
    A = with_singular_values(log_spaced(20, 10.0), 50, 20)
    assert relative_error(polar(A * scale, steps=14), svd_polar(A)) < tolerance(F64, 10, 20)


@pytest.mark.parametrize("rule", ["adaptive", "prism", "polar_express"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("share", [0.5, 0.75, 1.0])
def test_entries_up_to_the_largest_number(share, dtype, rule):
    A = with_singular_values(log_spaced(20, 10.0), 50, 20)
    A = (A / A.abs().max() * (share * torch.finfo(dtype).max)).to(dtype)
    assert A.isfinite().all()
    U = polar(A, rule=rule, steps=14)
    assert relative_error(U, svd_polar(A.double() / torch.finfo(dtype).max)) < tolerance(dtype, 10, 20)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("share", [0.5, 0.75, 1.0])
def test_both_factors_of_the_largest_numbers(share, dtype):
    # H has the entries of A here: nothing of the result is beyond the type.
    H = torch.diag(log_spaced(12, 10.0) * (0.99 * share * torch.finfo(dtype).max)).to(dtype)
    permutation = torch.eye(12, dtype=dtype)[torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    U, found = polar_factors(permutation @ H)
    assert (U - permutation).abs().max() < tolerance(dtype, 10, 12)
    assert (found / H.max() - H / H.max()).abs().max() < tolerance(dtype, 10, 12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("n", [1, 2, 17, 100])
def test_identity_stays_identity(n, dtype):
    bar = 1e-13 if dtype == F64 else 1e-6
    eye = torch.eye(n, dtype=dtype)
    assert (polar(eye) - eye).abs().max() < bar
    assert (polar(-3e5 * eye) + eye).abs().max() < bar


def test_zero_gives_zero():
    U, H = polar_factors(torch.zeros(2, 6, 4))
    assert (U == 0).all()
    assert (H == 0).all()


def test_repeated_singular_values():
    values = torch.tensor([3.0] * 10 + [1.0] * 10, dtype=F64)
    A = with_singular_values(values, 30, 20)
    assert relative_error(polar(A), svd_polar(A)) < tolerance(F64, 3, 20)


def test_polar_factors_are_the_polar_decomposition():
    for shape in ((30, 12), (12, 30), (20, 20)):
        A = with_singular_values(log_spaced(min(shape), 100.0), *shape)
        U, H = polar_factors(A, steps=16)
        expected = with_eigh_root(A)
        assert torch.equal(H, H.mT)
        assert relative_error(H, expected) < tolerance(F64, 100, 20)
        assert relative_error(U @ H, A) < tolerance(F64, 1, 20)


def with_eigh_root(A: torch.Tensor) -> torch.Tensor:
    """(AᵀA)^(1/2) from the SVD, which does not square the condition."""
    _, s, Vt = torch.linalg.svd(A, full_matrices=False)
    return (Vt.mT * s) @ Vt


def test_converged_input_stays_converged():
    U = svd_polar(gaussian(40, 40))
    once, history = polar(U, steps=30, history=True)
    assert (once - U).abs().max() < 1e-13
    assert (history.residual[20:] < 1e-13).all()


def test_symmetric_input_gives_the_sign():
    values = torch.cat([log_spaced(10, 10.0), -log_spaced(10, 10.0)])
    A = with_eigenvalues(values)
    sign = with_eigenvalues(values.sign())
    assert relative_error(polar(A, steps=14), sign) < tolerance(F64, 10, 20)
