"""The tables: equal ripple against a dense grid, published numbers, and what each kind of run reaches."""

import numpy as np
import pytest
import torch

from prism_compile._iteration.rule import StepInfo
from prism_compile._rules import RULES
from prism_compile._rules.minimax import in_x, steps_for_interval, steps_to

from ..matrices import F64

ANY_ORDER = pytest.mark.parametrize("p", [1, 2, 3, 4, 8])
HALF = (torch.bfloat16, torch.float16)
DTYPES = pytest.mark.parametrize("dtype", [F64, torch.float32, *HALF], ids=str)
EPS = torch.finfo(F64).eps


def table(steps: int, p: int, dtype: torch.dtype = F64, squared: bool = False, **others) -> np.ndarray:
    """A run's coefficients in powers of x, `[steps, 3]`."""
    infos = [StepInfo(step, steps, p, 2, dtype, squared, **others) for step in range(steps)]
    return np.array([in_x(RULES["minimax"].complete(info)) for info in infos])


def f(q: np.ndarray, x: np.ndarray, p: int) -> np.ndarray:
    """x^(1/p) g(x) with more digits than the table has."""
    x = x.astype(np.longdouble)
    return x ** (1 / np.longdouble(p)) * (q[0] + x * (q[1] + x * q[2]))


def after(rows: np.ndarray, x: np.ndarray, p: int) -> np.ndarray:
    """The p-th root of what the values x become."""
    for q in rows:
        x = f(q, x, p) ** p
    return x ** (1 / np.longdouble(p))


class TestOneStep:
    @ANY_ORDER
    @pytest.mark.parametrize("aim", [0.05, 0.3, 0.9, 0.999, 1 - 1e-6])
    def test_has_equal_ripple(self, p, aim):
        """On [ℓ, 1] it swings L, 1, L, 1: four extremes for three coefficients, so that none is better."""
        rows, reached = steps_to(np.array([aim]), 1, p)
        q, least = rows[0, 0], reached[0, 0] ** p
        x = np.geomspace(least, 1, 400_001)
        y = f(q, x, p)
        # A grid of 4e5 points misses an extreme by the square of a spacing, which is below 1e-4 of x.
        assert y.min() >= aim - 1e-13
        assert y.max() <= 1 + 1e-13
        turns = np.nonzero(np.diff(np.sign(np.diff(y))))[0] + 1
        extremes = y[[0, *turns, -1]].astype(float)
        np.testing.assert_allclose(extremes, [aim, 1, aim, 1], rtol=0, atol=max(1e-8 * (1 - aim), 4 * EPS))

    @ANY_ORDER
    def test_dips_no_lower_than_it_is_told(self, p):
        for dip in (0.04, 0.25):
            rows, reached = steps_to(np.array([1e-4]), 1, p, dip=dip)
            x = np.geomspace(reached[0, 0] ** p, 1, 100_001)
            y = f(rows[0, 0], x, p) ** p
            peak = np.nonzero(np.diff(y) < 0)[0][0]
            assert y[peak] == pytest.approx(1, abs=1e-6)
            assert y[peak:].min() == pytest.approx(dip, rel=1e-6)


class TestExact:
    # The least σ of a polar factor, or the least eigenvalue, that so many steps bring to one.
    REACH = (
        *((F64, True, 2, steps, z) for steps, z in ((8, 6e-4), (10, 4e-5), (12, 2.3e-6), (14, 1.4e-7))),
        *((torch.float32, True, 2, steps, z) for steps, z in ((8, 2.5e-4), (10, 1.5e-5), (12, 1e-6))),
        # Half precision is exact from five steps on.
        (torch.bfloat16, True, 2, 5, 7e-3),
        (torch.float16, True, 2, 5, 4.5e-2),
        (torch.float16, True, 2, 8, 5e-4),
        *((F64, False, p, 10, x) for p, x in ((2, 1.4e-9), (3, 1.4e-10), (4, 3.5e-11), (8, 3e-12))),
        (F64, True, 1, 10, 1.3e-7),
        (torch.float32, False, 2, 8, 6e-6),
        (torch.float32, False, 4, 8, 7e-7),
    )

    @pytest.mark.parametrize(("dtype", "squared", "p", "steps", "least"), REACH, ids=str)
    def test_reaches(self, dtype, squared, p, steps, least):
        least = least**2 if squared and p == 2 else least
        y = after(table(steps, p, dtype, squared), np.geomspace(least, 1, 20_001), p)
        # The aim is one ε below one, where a classical step last cubes what is left.
        assert abs(y - 1).max() <= 4 * torch.finfo(dtype).eps

    @ANY_ORDER
    @DTYPES
    def test_leaves_one_at_one_and_what_is_small_below(self, dtype, p):
        """However long the run: what a table has raised to one stays, and zeros stay zero."""
        for steps in (8, 14, 40):
            rows = table(steps, p, dtype, squared=True)
            x = np.array([0, 1e-300, 1e-30, 1.0])
            y = after(rows, x, p)
            assert y[0] == 0
            assert (y <= 1 + EPS).all()
            assert abs(y[-1] - 1) <= 2 * torch.finfo(dtype).eps

    @pytest.mark.parametrize("p", [2, 3, 4, 8])
    @DTYPES
    def test_settling_steps_raise_nothing(self, dtype, p):
        """g(0) = g(1) = 1, and at one the slope of the classical step, which squares what is left."""
        rows = table(60, p, dtype)
        for g0, g1, g2 in rows[-20:]:
            assert g0 == 1
            assert g0 + g1 + g2 == pytest.approx(1, abs=EPS)
            assert g1 + 2 * g2 == pytest.approx(-1 / p, abs=EPS)


class TestShort:
    @ANY_ORDER
    def test_leaves_no_more_than_its_deviation_above_one(self, p):
        for steps in range(1, 8):
            y = after(table(steps, p), np.geomspace(1e-14, 1, 4001), p)
            assert (y > 0).all()
            # The deviation is at most 3.6/steps², and a factor on the result as much.
            assert y.max() <= 1 + min(3.6 / steps**2, 0.45) + 1e-3

    @ANY_ORDER
    def test_each_further_step_leaves_less(self, p):
        """In the mean over values of a small slope in the logarithm, as singular values of x = z² have."""
        x = np.geomspace(1e-6, 1, 4001)
        left = [np.square(1 - after(table(steps, p), x, p)).mean() for steps in range(1, 8)]
        assert (np.diff(left) < 0).all()


class TestInterval:
    @ANY_ORDER
    @pytest.mark.parametrize(("least", "tol"), [(0.3, 0.2), (1e-2, 1e-3), (1e-5, 1e-8)])
    def test_fewest_steps_bring_all_of_it_to_one(self, p, least, tol):
        x = np.geomspace(least, 1, 8001)

        def deviation(steps: int) -> float:
            return float(abs(1 - after(table(steps, p, interval=(least, tol)), x, p) ** p).max())

        steps = steps_for_interval(least, tol, p, 100)
        assert deviation(steps) <= tol * (1 + 1e-6)
        # The table is best but for the limit on dips, which leaves it a step.
        assert steps == 1 or deviation(steps - 1) > tol
        # More steps than are asked for leave less.
        assert deviation(steps + 1) < deviation(steps) or deviation(steps) < 1e-14
