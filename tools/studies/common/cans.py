"""CANS, the peer with coefficients for a number of steps (Grishina, Smirnov, Rakhuba, arXiv 2506.10935)."""

from functools import cache

import numpy
from torch import Tensor

from .peers import Quintics, apply_quintics

Quintic = tuple[float, float, float]


def minimax_quintic(lower: float, upper: float) -> tuple[Quintic, float]:
    """The a x + b x³ + c x⁵ closest to 1 on [lower, upper] and its largest deviation, by Remez exchange.

    The error alternates at lower, two points between and upper; for upper - lower ≪ 1 the equations become
    singular.
    """
    points = numpy.linspace(lower, upper, 4)
    for _ in range(100):
        equations = numpy.column_stack([points, points**3, points**5, (1.0, -1.0, 1.0, -1.0)])
        a, b, c, deviation = numpy.linalg.solve(equations, numpy.ones(4)).tolist()
        turning = numpy.sqrt(numpy.sort(numpy.roots([5 * c, 3 * b, a])))
        points = numpy.array([lower, *turning, upper])
        reached = numpy.abs(a * points + b * points**3 + c * points**5 - 1).max()
        if reached <= deviation * (1 + 1e-9) + 1e-14:
            return (a, b, c), float(reached)
    raise ArithmeticError(f"no alternation on [{lower}, {upper}] after 100 exchanges")


def _composition(lower: float, steps: int, margin: float) -> tuple[Quintics, float]:
    """Quintics of which each is best on the interval that the one before leaves, from [lower, 1]."""
    quintics, upper, deviation = [], 1.0, 1.0
    for _ in range(steps):
        quintic, deviation = minimax_quintic(lower, upper * margin)
        quintics.append(quintic)
        lower, upper = 1 - deviation, 1 + deviation
    return tuple(quintics), deviation


@cache
def cans_quintics(steps: int, delta: float = 0.3, margin: float = 1.01) -> tuple[Quintics, float]:
    """The steps that take the widest [lower, 1] into [1 - delta, 1 + delta], and that lower end.

    margin: the factor by which each interval's upper end is raised. At that end the quintics have slopes
    above 10, and what rounding puts beyond it would diverge within 7 steps in float32.
    """
    # A step more reaches further; from where fewer reach, it would end too close to 1 to be solved for.
    wide, narrow = 1e-12, cans_quintics(steps - 1, delta, margin)[1] if steps > 1 else 0.9
    while narrow > wide * (1 + 1e-10):
        middle = (wide * narrow) ** 0.5
        if _composition(middle, steps, margin)[1] > delta:
            wide = middle
        else:
            narrow = middle
    return _composition(narrow, steps, margin)[0], narrow


def cans(G: Tensor, steps: int, delta: float = 0.3, margin: float = 1.01) -> Tensor:
    """δ-orthogonalisation of `[..., m, n]`: X = G/‖(GGᵀ)²‖_F^(1/4), then the quintics. 3·steps products.

    The two products of the norm are those of the first step, as in the authors' code; so is the margin.
    """
    wide = G.shape[-2] <= G.shape[-1]
    X = G if wide else G.mT
    # The fourth power of an entry would leave the range of float32.
    X = X / X.norm(dim=(-2, -1), keepdim=True)
    A = X @ X.mT
    square = A @ A
    scale = square.norm(dim=(-2, -1), keepdim=True) ** -0.25
    (a, b, c), *others = cans_quintics(steps, delta, margin)[0]
    X = scale * (a * X + (b * scale**2 * A + c * scale**4 * square) @ X)
    X = apply_quintics(X, tuple(others))
    return X if wide else X.mT
