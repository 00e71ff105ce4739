"""polar_factors(side="left"): A = H U, as scipy.linalg.polar has it. Accuracy: `properties`."""

import pytest
import torch

from prism_compile import polar_factors

from .matrices import gaussian, log_spaced, with_singular_values


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (24, 24), (1, 5), (5, 1), (1, 1)])
def test_u_is_that_of_the_other_side(shape):
    A = gaussian(3, *shape)
    (U, H), other = polar_factors(A, side="left", steps=14), polar_factors(A, steps=14)
    assert torch.equal(U, other.U)
    assert H.shape == (3, shape[0], shape[0])
    assert torch.equal(H, H.mT)


def test_op_default_and_history():
    A = gaussian(2, 6, 4)
    expected = polar_factors(A, side="left", steps=6)
    assert all(map(torch.equal, torch.ops.prism.polar_factors(A, side="left", steps=6), expected))
    assert all(map(torch.equal, polar_factors(A, steps=6), polar_factors(A, steps=6, side="right")))
    result, history = polar_factors(A, side="left", steps=6, history=True)
    assert all(map(torch.equal, result, expected))
    assert history.residual.shape == (2, 7)


@pytest.mark.parametrize("gradient", ["unrolled", "dual"])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
def test_gradients(shape, gradient):
    A = with_singular_values(log_spaced(3, 5.0), *shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda A: polar_factors(A, side="left", gradient=gradient), (A,))
