"""The classical iteration: every coefficient is that of the Taylor polynomial of (1 - r)^(-1/p).

The coefficients are rational arithmetic on Python numbers, done while tracing, so that a graph holds only the
finished constants. Source: arXiv 2601.22137, Part I; Higham, Functions of Matrices, ch. 5, 7, 8.
"""

from fractions import Fraction

from torch import Tensor

from .._iteration.basis import Coefficients
from .._iteration.rule import Rule, StepInfo
from .._torch import traced_constant

Polynomial = tuple[Fraction, ...]


def taylor_polynomial(p: int, degree: int) -> Polynomial:
    """Coefficients c_0 … c_degree of (1 - x)^(-1/p)."""
    coefficients = [Fraction(1)]
    for j in range(1, degree + 1):
        coefficients.append(coefficients[-1] * (Fraction(1, p) + j - 1) / j)
    return tuple(coefficients)


@traced_constant
def taylor_coefficients(p: int, degree: int) -> tuple[float, ...]:
    """`taylor_polynomial` in floating point."""
    return tuple(map(float, taylor_polynomial(p, degree)))


class TaylorRule(Rule):
    """Nothing is fitted."""

    def complete(self, info: StepInfo, *free: Tensor) -> Coefficients:
        return completed(info, taylor_coefficients(info.p, info.degree)[info.degree])


def completed(info: StepInfo, leading: float | Tensor) -> Coefficients:
    """Taylor coefficients up to the leading one, which is given."""
    if info.degree == 1:
        return Coefficients(1.0, leading, 0.0)
    return Coefficients(1.0, taylor_coefficients(info.p, info.degree)[1], leading)


TAYLOR = TaylorRule("taylor", "Higham, Functions of Matrices, ch. 5, 7, 8")
