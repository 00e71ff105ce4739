"""The damping: eps times the mean eigenvalue, added to the diagonal."""

import pytest
import torch

from .matrices import F64, eigh_power, gaussian, relative_error, spd, widest
from .properties.cases import FUNCTIONS

ROOTS = [(name, power) for name, f in FUNCTIONS.items() if f.kind == "definite" for power in f.powers[:1]]


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
