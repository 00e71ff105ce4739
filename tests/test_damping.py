"""The damping: eps times the mean eigenvalue, or a ridge, added to the diagonal."""

import pytest
import torch

import prism_compile

from .functions import tensors
from .matrices import F64, eigh_power, gaussian, relative_error, spd, widest
from .properties.cases import FUNCTIONS

ROOTS = [name for name, f in FUNCTIONS.items() if f.kind == "definite"]


def damped_power(A: torch.Tensor, power: float, eps: float = 0.0, ridge: float = 0.0) -> torch.Tensor:
    A = A.to(widest(A.dtype))
    shift = eps * A.diagonal(dim1=-2, dim2=-1).real.mean(-1)[..., None, None] + ridge
    return eigh_power(A + shift * torch.eye(A.shape[-1], dtype=A.dtype), power)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.complex128], ids=str)
@pytest.mark.parametrize("eps", [1e-1, 1e-4])
@pytest.mark.parametrize("name", ROOTS)
def test_is_relative_to_the_mean_eigenvalue(name, eps, dtype, device):
    n, B = 25, gaussian(25, 6, dtype=widest(dtype))
    # Of condition 1e6, and singular.
    A = torch.stack([spd(n, 1e6, dtype=widest(dtype)) * 1e3, B @ B.mH]).to(dtype)
    results = tensors(FUNCTIONS[name].call(A.to(device), eps=eps, steps=16))
    for part, power in zip(results, FUNCTIONS[name].powers, strict=True):
        # The damping leaves a condition number of n/eps at most.
        bar = 10 * n**0.5 * torch.finfo(dtype).eps * (n / eps) ** (0.5 if power > 0 else 1)
        assert relative_error(part.cpu(), damped_power(A, power, eps)) < bar


@pytest.mark.parametrize("eps", [0.0, 1e-3])
@pytest.mark.parametrize("name", ROOTS)
def test_a_ridge_is_absolute(name, eps):
    A = torch.stack([torch.zeros(6, 6, dtype=F64), spd(6, 10.0)])
    results = tensors(FUNCTIONS[name].call(A, eps=eps, ridge=1e-3, steps=16))
    for part, power in zip(results, FUNCTIONS[name].powers, strict=True):
        assert relative_error(part, damped_power(A, power, eps, 1e-3)) < 1e-11


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
    exact = damped_power(A, -1 / p, eps)
    # As a layer under autocast calls it, too: the covariance is rounded to the low type.
    for low in (False, formed == torch.bfloat16):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            Z = prism_compile.inv_root((x @ x.mT).float(), p, eps=eps)
        assert relative_error(Z, exact) < 1e-2
