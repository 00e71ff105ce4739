"""polar_factors(side="left"): A = H U, as scipy.linalg.polar has it. Accuracy: `properties`."""

import pytest
import torch

from prism_compile import polar_factors

from .matrices import gaussian


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (1, 5)])
def test_u_and_the_history_are_those_of_the_other_side(shape):
    A = gaussian(3, *shape)
    options = {"steps": 6, "history": True}
    (result, history), (other, right) = (polar_factors(A, side=side, **options) for side in ("left", "right"))
    assert torch.equal(result.U, other.U)
    assert torch.equal(history.coefficients, right.coefficients)
    assert torch.equal(result.H, result.H.mT)
    assert result.H.shape == (3, shape[0], shape[0])
    assert all(map(torch.equal, torch.ops.prism.polar_factors(A, side="left", steps=6), result))
    assert all(map(torch.equal, polar_factors(A, steps=6), other))
