"""inv against torch.linalg.inv in float64."""

import pytest
import torch

from prism_compile import inv, steps_for

from .matrices import F64, gaussian, log_spaced, relative_error, with_singular_values


# The forward error of an inverse is about eps·κ; the factor covers √n and the Gram matrix's start.
@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("n", [1, 2, 30, 150])
def test_general_matrix(n, dtype, degree):
    A = with_singular_values(log_spaced(n, 50.0), n, n)
    steps = steps_for("inv", condition=50.0, tol=1e-3, degree=degree) + 4
    error = relative_error(inv(A.to(dtype), steps=steps, degree=degree), torch.linalg.inv(A))
    assert error < 20 * torch.finfo(dtype).eps * 50 * n**0.5


def test_gaussian_batch():
    A = gaussian(4, 20, 20) + 5 * torch.eye(20, dtype=F64)
    assert relative_error(inv(A, steps=30), torch.linalg.inv(A)) < 1e-11


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale(scale):
    A = with_singular_values(log_spaced(20, 10.0), 20, 20)
    assert relative_error(inv((A * scale).float(), steps=14), torch.linalg.inv(A) / scale) < 1e-5


def test_identity_zero_and_singular():
    eye = torch.eye(7, dtype=F64)
    assert (inv(eye) - eye).abs().max() < 1e-13
    assert not inv(torch.zeros(3, 3)).isfinite().all()
    singular = with_singular_values(log_spaced(6, 10.0), 8, 8)
    _, history = inv(singular, steps=20, history=True)
    assert history.residual[-1] > 0.4
