"""Matrices that other libraries' own tests are made of and that are of a kind of their own here.

Distributed Shampoo (matrix roots), scipy (polar, sqrtm, signm) and JAX (qdwh). Out of the domain are scipy's
square roots of matrices that are not Hermitian and JAX's of general ones; fractional roots; pseudo-inverses;
integers; U of the matrix [[0]], which is [[1]] in scipy and 0 here; the sign of a singular matrix.
"""

import pytest
import torch

import prism_compile as pc

from ..matrices import C128, F64, eigh_power, relative_error, spd, svd_polar, widest, with_singular_values

EPS = torch.finfo(F64).eps


def rounding(n: int, condition: float = 1.0, dtype: torch.dtype = F64) -> float:
    """As in `cases`: ten roundings of sums of n terms, enlarged by a condition number."""
    return 10 * n**0.5 * torch.finfo(dtype).eps * condition


@pytest.mark.parametrize("rule", ["adaptive", "prism", "taylor"])
def test_inverse_roots_of_integers_of_distributed_shampoo(rule):
    # det = 1: its inverse is of integers, too.
    A = torch.tensor([[1195.0, -944, -224], [-944, 746, 177], [-224, 177, 42]], dtype=F64)
    root = torch.tensor([[1.0, 1, 1], [1, 2, -3], [1, -3, 18]], dtype=F64)
    bar = rounding(3, torch.linalg.cond(A).item())
    for found, exact in (
        (pc.inv_sqrtm(A, rule=rule, steps=24), root),
        (pc.inv_root(A, 2, rule=rule, steps=24), root),
        (pc.inv_root(A, 1, rule=rule, steps=24), root @ root),
    ):
        assert relative_error(found, exact) < bar


@pytest.mark.parametrize("exponent", range(2, 7))
def test_the_fourth_root_up_to_condition_1e6_in_float32(exponent):
    """Google's: log-spaced eigenvalues, n = 16, a residual below 0.1."""
    A = spd(16, 10.0**exponent, seed=exponent).float()
    X = pc.inv_root(A, 4, steps=14)
    # Of I - X²AX²: a history's is of the worse side, I - AX⁴ or I - X⁴A.
    squared = X.double() @ X.double()
    R = torch.eye(16) - squared @ A.double() @ squared
    assert torch.linalg.matrix_norm(R) / 4 < 0.1
    assert relative_error(X, eigh_power(A, -0.25)) < torch.finfo(torch.float32).eps * 10.0**exponent


@pytest.mark.parametrize("rule", ["adaptive", "prism", "taylor"])
def test_square_roots_of_scipys_singular_matrices(rule):
    ones = torch.ones(2, 2, dtype=F64)
    # Of a zero that rounding perturbs by ε the root is √ε; where the zeros are exact there is no such.
    corners = torch.kron(ones, torch.diag(torch.tensor([1.0, 0.0], dtype=F64)))
    for A in (ones, corners):
        assert (pc.sqrtm(A, rule=rule, steps=10) - A * 0.5**0.5).abs().max() < 10 * EPS**0.5
    A = torch.diag(torch.tensor([2.0, 1.0, 0.0], dtype=F64))
    assert (pc.sqrtm(A, rule=rule, steps=10) - A.sqrt()).abs().max() < rounding(3)


@pytest.mark.parametrize("options", [{}, {"rule": "taylor"}, {"newton_steps": 12}], ids=str)
def test_sign_of_scipys_defective_matrix(options):
    """Of two Jordan blocks."""
    A = torch.zeros(4, 4, dtype=F64)
    for i, j in ((0, 1), (1, 0), (1, 2), (2, 3), (3, 2)):
        A[i, j] = 1
    # What commutes with A, squares to the identity, and has the same diagonal blocks.
    exact = A.clone()
    exact[0, 3], exact[1, 2] = -0.5, 0.5
    assert relative_error(exact @ A, A @ exact) == 0
    assert torch.equal(exact @ exact, torch.eye(4, dtype=F64))
    assert relative_error(pc.signm(A, **({"steps": 12} | options)), exact) < rounding(4, 10)


# Evenly spaced values, from one up to a share of what the dtype holds.
@pytest.mark.parametrize("share", [1 / 3, 2 / 3, 0.95])
@pytest.mark.parametrize("dtype", [torch.float32, F64, C128], ids=str)
@pytest.mark.parametrize("shape", [(20, 18), (100, 100)])
def test_jaxs_polar_decompositions_of_any_condition_number(shape, dtype, share):
    n, condition = min(shape), torch.finfo(dtype).eps ** -share
    values = torch.linspace(condition, 1, n, dtype=F64)
    A = with_singular_values(values, *shape, dtype=widest(dtype)).to(dtype)
    for rule in ("adaptive", "prism"):
        # From so far below each step raises the least value by at least 15/8.
        U, H = pc.polar_factors(A, steps=70, rule=rule)
        assert (U.mH @ U - torch.eye(n)).abs().max() < rounding(n, dtype=dtype)
        assert relative_error(U @ H, A.to(widest(dtype))) < rounding(n, dtype=dtype)
        assert torch.equal(H, H.mH)
        # The polar factor itself only as far as the condition number lets it be known.
        assert relative_error(U, svd_polar(A)) < rounding(n, condition, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex64, C128], ids=str)
def test_jaxs_one_entry_the_smallest_normal_number(dtype):
    A = torch.zeros(4, 3, dtype=dtype)
    A[1, 1] = torch.finfo(dtype).tiny
    U, H = pc.polar_factors(A)
    torch.testing.assert_close(U, A / A[1, 1], rtol=rounding(1, dtype=dtype), atol=0)
    torch.testing.assert_close(H, A[:3], rtol=rounding(1, dtype=dtype), atol=0)
