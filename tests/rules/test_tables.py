"""The fixed tables: the published numbers, to the last digit, and what is made of them."""

import numpy as np
import pytest
import torch

from prism_compile._iteration.rule import StepInfo
from prism_compile._rules import RULES

from .published import PUBLISHED, SAFETY


@pytest.mark.parametrize("name", PUBLISHED)
def test_tables_are_the_published_numbers(name):
    # One rounding of the division by the safety: a digit off in any row is seen.
    np.testing.assert_allclose(RULES[name].table, PUBLISHED[name], rtol=4e-16, atol=0)


def test_muons_is_torchs():
    from torch.optim import _muon

    assert RULES["jordan"].table == ((_muon.DEFAULT_A, _muon.DEFAULT_B, _muon.DEFAULT_C),)


@pytest.mark.parametrize("name", PUBLISHED)
def test_steps_are_the_published_quintics(name):
    x = np.linspace(0, 1.1, 7)
    r = 1 - x**2
    for step in (*range(len(PUBLISHED[name])), 12):
        a, b, c = PUBLISHED[name][min(step, len(PUBLISHED[name]) - 1)]
        g0, g1, g2 = RULES[name].complete(StepInfo(step, 15, 2, 2, torch.float32))
        np.testing.assert_allclose(x * (g0 + g1 * r + g2 * r**2), a * x + b * x**3 + c * x**5, atol=1e-13)


def test_peers_keep_their_own_scaling():
    for name in PUBLISHED:
        assert RULES[name].scaling == "frobenius"
    assert RULES["polar_express"].margin() == SAFETY
    assert RULES["jordan"].margin() == RULES["you"].margin() == 1.0
