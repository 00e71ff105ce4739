"""The damping: eps times the mean eigenvalue, added to the diagonal."""

import pytest
import torch

import prism_compile

from .matrices import F64, eigh_power, gaussian, relative_error, spd, widest
from .properties.cases import FUNCTIONS

ROOTS = [(name, power) for name, f in FUNCTIONS.items() if f.kind == "definite" for power in f.powers[:1]]


def damped_power(A, eps, power):
    A = A.double()
    mean = A.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    return eigh_power(A + eps * mean * torch.eye(A.shape[-1], dtype=F64), power)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.complex128], ids=str)
@pytest.mark.parametrize("eps", [1e-1, 1e-4])
@pytest.mark.parametrize(("name", "power"), ROOTS)
def test_is_relative_to_the_mean_eigenvalue(name, power, eps, dtype, device):
    n = 25
    A = (spd(n, 1e6, dtype=widest(dtype)) * 1e3).to(dtype)
    result = FUNCTIONS[name].call(A.to(device), eps=eps, steps=16)
    part = result[0] if isinstance(result, tuple) else result
    wide = A.to(widest(dtype))
    mean = wide.diagonal().real.mean()
    exact = eigh_power(wide + eps * mean * torch.eye(n, dtype=wide.dtype), power)
    # The damping leaves a condition number of n/eps at most.
    bar = 10 * n**0.5 * torch.finfo(dtype).eps * (n / eps) ** (0.5 if power > 0 else 1)
    assert relative_error(part.cpu(), exact) < bar


@pytest.mark.parametrize(("name", "power"), ROOTS)
def test_makes_a_semidefinite_matrix_definite(name, power):
    B = gaussian(20, 6)
    A = B @ B.T
    result = FUNCTIONS[name].call(A, eps=1e-2, steps=16)
    part = result[0] if isinstance(result, tuple) else result
    exact = eigh_power(A + 1e-2 * A.trace() / 20 * torch.eye(20, dtype=F64), power)
    assert relative_error(part, exact) < 10 * 20**0.5 * torch.finfo(F64).eps * 2000


@pytest.mark.parametrize(("name", "power"), ROOTS)
def test_a_ridge_is_absolute(name, power):
    A = torch.stack([torch.zeros(6, 6, dtype=F64), spd(6, 10.0)])
    result = FUNCTIONS[name].call(A, ridge=1e-3, steps=16)
    part = result[0] if isinstance(result, tuple) else result
    exact = eigh_power(A + 1e-3 * torch.eye(6, dtype=F64), power)
    assert relative_error(part, exact) < 1e-11
    both = FUNCTIONS[name].call(A, eps=1e-3, ridge=1e-3, steps=16)
    shift = 1e-3 * (1 + A.diagonal(dim1=-2, dim2=-1).mean(-1))[:, None, None]
    exact = eigh_power(A + shift * torch.eye(6, dtype=F64), power)
    assert relative_error(both[0] if isinstance(both, tuple) else both, exact) < 1e-11


def test_a_constant_group_in_a_whitening_layer_has_a_gradient():
    x = torch.zeros(4, 64, requires_grad=True)
    prism_compile.inv_sqrtm(x @ x.T, ridge=1e-3).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("p", [2, 4])
@pytest.mark.parametrize("columns", [1, 16])
@pytest.mark.parametrize("formed", [torch.float32, torch.bfloat16], ids=str)
def test_the_least_damping_of_a_singular_matrix(formed, columns, p):
    """8nε, as the docstring says: a rank that is not full is no reason for NaN."""
    n = 64
    x = gaussian(4, n, columns).to(formed)
    A, eps = (x @ x.mT).float(), 8 * n * torch.finfo(formed).eps
    exact = damped_power(A, eps, -1 / p)
    assert relative_error(prism_compile.inv_root(A, p, eps=eps), exact) < 1e-2
    # As a layer under autocast calls it: the covariance is rounded to the low type.
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=formed == torch.bfloat16):
        Z = prism_compile.inv_root((x @ x.mT).float(), p, eps=eps)
    assert relative_error(Z, exact) < 1e-2
