"""The paper's rule: how much it saves, and its fit where the loss is hard. `test_reference` has its steps."""

import numpy as np
import pytest
import torch

from prism_compile._rules import prism

from ..matrices import F64


def blocks_of(r: np.ndarray, dtype: torch.dtype = F64) -> list[torch.Tensor]:
    """The Krylov blocks of diag(r), p = 2, under a sketch of ones, whose moments are the exact traces."""
    return [torch.from_numpy(r**j)[None, None].to(dtype) for j in range(6)]


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_small_residuals_give_the_classical_step(dtype):
    for size in (0.0, 1e-38, 1e-20, 1e-8, 1e-5, 1e-3):
        alpha = prism.fit_coefficient(blocks_of(np.linspace(size / 2, size, 9), dtype), 2, 2).item()
        assert abs(alpha - 0.375) < 2 * size + 1e-7
    for bad in (torch.inf, torch.nan):
        assert prism.fit_coefficient([torch.full((1, 1, 6), bad)] * 6, 2, 2).item() == 0.375


def test_residuals_near_one_give_the_papers_upper_end():
    assert prism.fit_coefficient(blocks_of(np.full(9, 0.9999)), 2, 2).item() == pytest.approx(29 / 20)


def test_two_valleys():
    # (x - 0.2)² (x - 0.8)² - 0.01 x: the deeper valley is the right one.
    x = np.polynomial.Polynomial
    loss = x([-0.2, 1]) ** 2 * x([-0.8, 1]) ** 2 - x([0, 0.01])
    coefficients = [torch.tensor([[[c]]], dtype=F64) for c in loss.coef[1:]]
    found = prism.minimise_on_interval(coefficients, 1.0).item()
    assert 0.8 < found < 0.83
    assert abs(loss.deriv()(found)) < 1e-8
