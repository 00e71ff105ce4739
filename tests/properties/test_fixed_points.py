"""What stays where it is: multiples of the identity, single entries, what has converged, and zero."""

import pytest
import torch

import prism_compile as pc

from ..functions import tensors
from ..matrices import F64, gaussian, svd_polar
from .cases import EACH, FUNCTIONS, IN_DTYPES, ROUNDINGS, WAYS, N, check, matrix, run, run_short, serves

POLYNOMIAL = [way for way in WAYS if serves("polar", way) and not way.startswith("Newton")]


@IN_DTYPES
@EACH
def test_single_entries_and_multiples_of_the_identity(name, way, dtype, device):
    kind = FUNCTIONS[name].kind
    entries = torch.tensor([3.7, 0.02, 1.0, 150.0], dtype=F64)
    if kind != "definite":
        entries = entries * torch.tensor([1.0, -1.0, -1.0, 1.0])
    if dtype.is_complex and kind in ("rectangular", "square"):
        entries = entries * torch.polar(torch.ones(4, dtype=F64), torch.arange(4, dtype=F64))
    for n in (1, 2, N + 1):
        A = (entries[:, None, None] * torch.eye(n)).to(device, dtype)
        check(name, way, A, run(name, way, A, steps=14))


@IN_DTYPES
@pytest.mark.parametrize("way", POLYNOMIAL)
@pytest.mark.parametrize("name", ["polar", "polar_factors", "left factors"])
def test_rows_and_columns(name, way, dtype, device):
    for shape in ((3, 1, 7), (3, 7, 1), (2, 2)):
        A = gaussian(*shape, seed=1, dtype=dtype).to(device)
        # Two Gaussian columns may be of any condition: of these it is below 10.
        check(name, way, A, run(name, way, A))


@pytest.mark.parametrize("way", [way for way in WAYS if serves("polar", way)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_what_has_converged_stays_converged(way, dtype):
    Q = svd_polar(gaussian(N, N, dtype=dtype))
    U, history = run("polar", way, Q, steps=30, history=True)
    bar = ROUNDINGS * torch.finfo(F64).eps
    assert (U - Q).abs().max() < bar
    # A table first lets equal values fall, and raises them again.
    assert history.residual[-1] < bar


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.complex64], ids=str)
@EACH
def test_zero(name, way, dtype, device):
    """The inverse of zero is not finite, and nor is what Newton's steps, which invert, make of it."""
    zero = torch.zeros(2, 5, 5, dtype=dtype, device=device)
    for part, power in zip(run_short(name, way, zero), FUNCTIONS[name].powers, strict=True):
        if way.startswith("Newton") or power < 0:
            assert not part.isfinite().any()
        else:
            assert torch.equal(part, zero)


@pytest.mark.parametrize("name", ["polar", "polar_factors", "left factors"])
def test_a_zero_column_stays_zero(name):
    """Exact zeros stay exact, and the rest of U is the polar factor of the rest of A."""
    A = matrix("rectangular", torch.linspace(1, 2, 5, dtype=F64), 9, 5, F64)
    padded = torch.cat([A, torch.zeros(9, 2, dtype=F64)], dim=-1)
    U = tensors(FUNCTIONS[name].call(padded, steps=14))[0]
    assert torch.equal(U[:, 5:], torch.zeros(9, 2, dtype=F64))
    assert (U[:, :5] - svd_polar(A)).abs().max() < ROUNDINGS * torch.finfo(F64).eps
    assert torch.equal(pc.polar(padded.T, steps=14), pc.polar(padded, steps=14).T)
