"""A step's polynomial, in each of the ways in which it is formed."""

import pytest
import torch

from prism_compile._iteration.basis import Basis, Coefficients, polynomial_of, quadratic_of

from ..matrices import F64, gaussian

N = 12
TENSOR = torch.tensor([0.7, 1.3, -0.2], dtype=F64)[:, None, None]
# Whether R² has been formed, and the coefficients.
CASES = {
    "numbers": (False, Coefficients(1.0, 0.5, 0.375)),
    "numbers, cubic": (False, Coefficients(1.0, 0.5, 0.0)),
    "numbers, a table": (False, Coefficients(2.2, -0.3, 0.1)),
    "numbers, R²": (True, Coefficients(1.5, 0.5, 0.375)),
    "one tensor": (True, Coefficients(1.0, 0.5, TENSOR)),
    "one tensor, cubic": (False, Coefficients(1.0, TENSOR, 0.0)),
    "all tensors": (True, Coefficients(2 * TENSOR, TENSOR - 1, TENSOR)),
}


def residual(dtype: torch.dtype = F64) -> torch.Tensor:
    return (gaussian(3, N, N) / N).to(dtype)


def polynomial(case: str, R: torch.Tensor):
    formed, coefficients = CASES[case]
    basis = Basis(torch.eye(N, dtype=R.dtype), R, torch.bmm(R, R) if formed else None)
    if R.dtype != F64:
        coefficients = Coefficients(*(a.float() if isinstance(a, torch.Tensor) else a for a in coefficients))
    return polynomial_of(2, basis, coefficients)


def expected(case: str, R: torch.Tensor) -> torch.Tensor:
    g0, g1, g2 = CASES[case][1]
    R = R.to(F64)
    return g0 * torch.eye(N, dtype=F64) + g1 * R + g2 * R @ R


@pytest.mark.parametrize(("linear", "square"), [(0, 1), (-0.98, 1), (0.5, 0.375)])
def test_quadratic(linear, square):
    R = residual()
    torch.testing.assert_close(quadratic_of(R, linear, square), linear * R + square * R @ R)


@pytest.mark.parametrize("case", CASES)
def test_matrix_and_both_products(case):
    R, X = residual(), gaussian(3, N, N, seed=1)
    g, exact = polynomial(case, R), expected(case, R)
    assert g.step == 2
    torch.testing.assert_close(g.matrix(), exact)
    torch.testing.assert_close(g.times(X), exact @ X)
    torch.testing.assert_close(g.after(X), X @ exact)
    # The matrix may have been added to in place of being made anew.
    torch.testing.assert_close(g.times(X), exact @ X)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_what_is_beside_the_identity(case, dtype):
    """Near convergence g(R) is I and a small W: a W rounded at the size of I would be lost."""
    R = residual(dtype) * 2**-6
    g0 = CASES[case][1].g0
    W = polynomial(case, R).W
    exact = expected(case, R)
    size = exact - (g0 if isinstance(g0, float) else 1.0) * torch.eye(N, dtype=F64)
    # One rounding of the sum and one of R².
    bar = torch.finfo(dtype).eps * size.abs().amax(dim=(-2, -1))
    assert ((W.double() - size).abs().amax(dim=(-2, -1)) <= bar).all()
