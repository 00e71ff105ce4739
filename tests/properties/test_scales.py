"""Scales: a power of two goes through, and entries may be as large and as small as the dtype has them."""

import pytest
import torch

from prism_compile import polar, polar_factors

from ..matrices import (
    gaussian,
    log_spaced,
    relative_error,
    relative_errors,
    svd_polar,
    with_singular_values,
)
from .cases import EACH, FEW, FUNCTIONS, ROUNDINGS, N, check, matrix, run, run_short, sample, widest

# To scales of 1e±30, in 64 bits of 1e±300. The small numbers of float16 lose digits: see below.
EXPONENTS = [
    *((dtype, k) for dtype in (torch.float32, torch.bfloat16, torch.complex64) for k in (-100, 100)),
    *((dtype, k) for dtype in (torch.float64, torch.complex128) for k in (-996, 996)),
]


@pytest.mark.parametrize(("dtype", "exponent"), EXPONENTS, ids=str)
@EACH
def test_a_power_of_two_goes_through_exactly(name, way, dtype, exponent, device):
    A, scale = sample(name, dtype=dtype, way=way).to(device), 2.0**exponent
    for part, expected, power in zip(
        run_short(name, way, A * scale), run_short(name, way, A), FUNCTIONS[name].powers, strict=True
    ):
        if power >= 0:
            assert torch.equal(part, expected * scale**power)
        else:
            # Small entries of an inverse may be below the normal numbers.
            wide = expected.to(widest(dtype))
            assert relative_errors(part.to(wide.dtype) / scale**power, wide) < 4 * torch.finfo(dtype).eps


# Without the factors H, which may have entries beyond those of A: see the next test.
ONE_FACTOR = [(name, way) for name, way in FEW if "factors" not in name]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize(("name", "way"), ONE_FACTOR)
def test_entries_up_to_the_largest_number(name, way, dtype):
    A = matrix(FUNCTIONS[name].kind, log_spaced(N, 10.0), N, N, widest(dtype))
    A = A / (torch.view_as_real(A) if A.is_complex() else A).abs().max()
    for share in (0.5, 0.75, 1.0):
        largest = share * torch.finfo(dtype).max
        X = (A * largest).to(dtype)
        assert X.isfinite().all()
        check(name, way, X, run(name, way, X, steps=16), scale=largest)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("share", [0.5, 0.75, 1.0])
def test_both_factors_of_the_largest_numbers(share, dtype):
    # H has the entries of A here: nothing of the result is beyond the type.
    H = torch.diag(log_spaced(N, 10.0) * (0.99 * share * torch.finfo(dtype).max)).to(dtype)
    permutation = torch.eye(N, dtype=dtype)[torch.randperm(N, generator=torch.Generator().manual_seed(0))]
    bar = 10 * ROUNDINGS * torch.finfo(dtype).eps
    for side, A in (("right", permutation @ H), ("left", H @ permutation)):
        U, found = polar_factors(A, side=side)
        assert (U - permutation).abs().max() < bar
        assert (found / H.max() - H / H.max()).abs().max() < bar


@pytest.mark.parametrize("rule", ["adaptive", "prism", "polar_express"])
@pytest.mark.parametrize("scale", [1e-44, 1e-38])
def test_numbers_too_small_to_be_normal(scale, rule):
    """What is left of the input is the oracle's input, too."""
    A = (with_singular_values(log_spaced(20, 10.0), 50, 20) * scale).float()
    kappa = torch.linalg.cond(A.double() / scale).item()
    # At 1e-44 a handful of values are left; the matrix they make is well conditioned still.
    assert kappa < 1e3
    bar = 10 * 20**0.5 * torch.finfo(torch.float32).eps * kappa
    assert relative_error(polar(A, rule=rule, steps=16), svd_polar(A)) < bar


@pytest.mark.parametrize("value", [3.4e38, 1e-44])
def test_the_ends_of_the_complex_range(value):
    """The modulus of the largest overflows, the reciprocal of the smallest is infinite."""
    A = torch.tensor([[complex(value, value), 0.0], [0.0, complex(-value, value)]], dtype=torch.complex64)
    expected = torch.tensor([[1 + 1j, 0], [0, -1 + 1j]], dtype=torch.complex64) / 2**0.5
    torch.testing.assert_close(polar(A), expected)


def test_gaussians_as_large_as_float16_holds():
    """A square one, and denormal entries of a tall one, whose polar factor is what their rounding left."""
    A = (gaussian(256, 256) * 1e4).clamp(-65000, 65000).half()
    U = polar(A, steps=12)
    values = torch.linalg.svdvals(A.double())
    # Of what float16 carries, for the rest is still on its way.
    carried = (values / values[0] > 1e-2).sum()
    W, _, Vt = torch.linalg.svd(A.double())
    along = (W.T @ U.double() @ Vt.T).diagonal()
    assert (along[:carried] - 1).square().mean().sqrt() < 4 * torch.finfo(torch.float16).eps
    A = (gaussian(2048, 16) * 1e-4).half()
    U = polar(A, steps=12)
    assert relative_error(U, svd_polar(A)) < 4 * torch.finfo(torch.float16).eps
    # Of rank one: U is the outer product of what A is one of.
    U = polar(torch.full((300, 300), 6e4).half(), steps=12)
    assert (U.double() * 300 - 1).abs().max() < 4 * torch.finfo(torch.float16).eps
