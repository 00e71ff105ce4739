"""The fixed tables: the published numbers, to the last digit, and what is made of them."""

import numpy as np
import pytest
import torch

from prism_compile import polar
from prism_compile._iteration.loop import StepInfo
from prism_compile._rules import RULES

from ..matrices import log_spaced, with_singular_values

SAFETY = 1.01
# Amsel et al., arXiv 2505.16932, their code's, for singular values in [1e-3, 1], before the safety.
POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.9089021159629494, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
PUBLISHED = {
    "polar_express": (
        *((a / SAFETY, b / SAFETY**3, c / SAFETY**5) for a, b, c in POLAR_EXPRESS),
        (1.875, -1.25, 0.375),
    ),
    # torch.optim.Muon's defaults; J. You.
    "jordan": ((3.4445, -4.7750, 2.0315),),
    "you": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
}


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


def test_published_polar_express_by_hand():
    A = with_singular_values(log_spaced(20, 100.0), 30, 20)
    X = A / (A.norm() * SAFETY)
    for step in range(9):
        a, b, c = PUBLISHED["polar_express"][min(step, 7)]
        G = X.T @ X
        X = a * X + X @ (b * G + c * G @ G)
    torch.testing.assert_close(polar(A, rule="polar_express", steps=9), X, atol=1e-12, rtol=0)
