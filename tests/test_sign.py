"""signm against eigendecompositions."""

import pytest
import torch

from prism_compile import signm

from .matrices import F64, gaussian, log_spaced, relative_error, with_eigenvalues


def signs(n: int) -> torch.Tensor:
    return torch.where(torch.arange(n) % 3 == 0, -1.0, 1.0).to(F64)


# For symmetric A the sign is the polar factor: its condition is 1/|λ|_min. FACTOR covers √n and the steps.
@pytest.mark.parametrize(("dtype", "factor"), [(torch.float64, 50), (torch.float32, 50)])
@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("n", [1, 2, 16, 150])
def test_symmetric(n, dtype, factor, degree):
    values = log_spaced(n, 10.0) * signs(n)
    A, expected = with_eigenvalues(values), with_eigenvalues(values.sign())
    error = relative_error(signm(A.to(dtype), steps=16, degree=degree), expected)
    assert error < factor * torch.finfo(dtype).eps * 10 * n**0.5


def test_nonsymmetric_with_real_spectrum():
    n = 30
    V = gaussian(n, n) + 4 * torch.eye(n, dtype=F64)
    values = log_spaced(n, 30.0) * signs(n)
    A = V @ torch.diag(values) @ torch.linalg.inv(V)
    expected = V @ torch.diag(values.sign()) @ torch.linalg.inv(V)
    S, history = signm(A, steps=24, history=True)
    # The condition of the eigenvectors enters twice: in the matrix's formation and in the iteration.
    bar = 100 * torch.finfo(F64).eps * torch.linalg.cond(V).item() ** 2 * 30
    assert relative_error(S, expected) < bar
    assert history.residual[-1] < bar


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale(scale):
    values = log_spaced(12, 10.0) * signs(12)
    A = (with_eigenvalues(values) * scale).float()
    assert relative_error(signm(A, steps=14), with_eigenvalues(values.sign())) < 1e-4


def test_identity_and_zero():
    eye = torch.eye(9, dtype=F64)
    assert (signm(eye) - eye).abs().max() < 1e-13
    assert (signm(-eye) + eye).abs().max() < 1e-13
    assert (signm(torch.zeros(3, 3)) == 0).all()


def test_singular_input_shows_in_the_residual():
    values = torch.tensor([1.0, -0.5, 0.0, 0.7], dtype=F64)
    _, history = signm(with_eigenvalues(values), history=True)
    assert history.residual[-1] > 0.1
