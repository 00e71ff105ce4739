"""The classical coefficients."""

import torch

from prism_compile._iteration.rule import StepInfo
from prism_compile._rules import RULES
from prism_compile._rules.taylor import taylor_coefficients

from . import ORDERS


def test_taylor_coefficients():
    assert taylor_coefficients(2, 2) == (1, 0.5, 0.375)
    assert taylor_coefficients(4, 2) == (1, 0.25, 0.15625)
    assert taylor_coefficients(1, 2) == (1, 1, 1)


def test_every_step_has_them():
    for p, degree in ORDERS:
        for step in (0, 3):
            chosen = RULES["taylor"].complete(StepInfo(step, 5, p, degree, torch.float32))
            assert chosen[: degree + 1] == taylor_coefficients(p, degree)
            assert chosen[degree + 1 :] == (0.0,) * (2 - degree)
