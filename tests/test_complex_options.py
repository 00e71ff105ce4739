"""Complex matrices: what their history says, of Newton's steps too, and those steps' gradients."""

import pytest
import torch

import prism_compile as pc

from .matrices import alternating, gaussian, generator

N = 12
EPS = torch.finfo(torch.float64).eps
# Of roots and factors of condition below 1e4: rounding of a dozen products of n terms, enlarged by that.
BOUND = 1e3 * N * EPS


def matrices(seed: int = 0) -> torch.Tensor:
    return torch.complex(gaussian(3, N, N, seed=seed), gaussian(3, N, N, seed=seed + 1))


def unitary(seed: int = 0) -> torch.Tensor:
    return torch.linalg.qr(matrices(seed))[0]


def hermitian(values: torch.Tensor, Q: torch.Tensor) -> torch.Tensor:
    return (Q * values) @ Q.mH


CALLS = {"polar": pc.polar, "sqrtm_pair": pc.sqrtm_pair, "signm": pc.signm}


@pytest.mark.parametrize(("steps", "newton_steps"), [(20, 0), (12, 1), (8, 8)])
@pytest.mark.parametrize("name", CALLS)
def test_history_of_a_converged_result(name, steps, newton_steps):
    values = torch.logspace(0, -1, N, dtype=torch.float64)
    signs = alternating(N) if name == "signm" else 1
    A = matrices() if name == "polar" else hermitian(values * signs, unitary())
    _, history = CALLS[name](A, steps=steps, newton_steps=newton_steps, history=True)
    assert history.residual[:, -1].max() < BOUND
    assert history.asymmetry.max() < BOUND
    assert history.converged(BOUND).all()
    assert all(part.dtype == torch.float64 for part in history)


def test_roots_and_inverses_are_measured_against_a():
    values, Q, A = torch.logspace(0, -2, N, dtype=torch.float64), unitary(3), matrices(4)
    X, history = pc.inv_root(hermitian(values, Q), 4, steps=12, history=True)
    assert (X - hermitian(values**-0.25, Q)).abs().max() < BOUND
    assert history.residual[:, -1].max() < BOUND
    X, history = pc.inv(A, steps=25, history=True)
    condition = torch.linalg.cond(A).max()
    assert (X - torch.linalg.inv(A)).norm() < BOUND * condition * X.norm()
    torch.testing.assert_close(
        history.residual[:, -1], torch.linalg.matrix_norm(torch.eye(N) - A @ X) / N**0.5, atol=BOUND, rtol=0
    )
    # What has not converged is seen, too.
    assert not pc.inv_root(hermitian(values, Q), 4, steps=2, history=True)[1].converged(1e-3).any()


@pytest.mark.parametrize("gradient", ["unrolled", "dual"])
def test_gradients_of_newton_steps(gradient):
    parts = [torch.randn(4, 4, dtype=torch.float64, generator=generator(seed)) for seed in (0, 1)]
    A = torch.complex(*parts).requires_grad_()
    assert torch.autograd.gradcheck(lambda X: pc.polar(X, steps=7, newton_steps=7, gradient=gradient), A)
