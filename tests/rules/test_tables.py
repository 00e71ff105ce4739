"""The fixed tables: the published numbers, to the last digit; and the classical coefficients."""

import numpy as np
import pytest
import torch

from prism_compile import inv_root
from prism_compile._rules import RULES

from ..matrices import F64, spd
from .published import PUBLISHED, SAFETY


@pytest.mark.parametrize("name", PUBLISHED)
def test_tables_are_the_published_numbers(name):
    # One rounding of the division by the safety: a digit off in any row is seen.
    np.testing.assert_allclose(RULES[name].table, PUBLISHED[name], rtol=4e-16, atol=0)
    assert RULES[name].scaling == "frobenius"
    assert RULES[name].margin() == (SAFETY if name == "polar_express" else 1.0)


def test_muons_is_torchs():
    from torch.optim import _muon

    assert PUBLISHED["jordan"] == ((_muon.DEFAULT_A, _muon.DEFAULT_B, _muon.DEFAULT_C),)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_the_classical_coefficients_are_those_of_the_binomial_series(p, degree):
    """Of (1 - r)^(-1/p)."""
    _, history = inv_root(spd(6, 10.0), p, rule="taylor", degree=degree, steps=2, history=True)
    series = [1.0, 1 / p, (1 / p) * (1 / p + 1) / 2 if degree == 2 else 0.0]
    torch.testing.assert_close(history.coefficients, torch.tensor([series] * 2, dtype=F64))
