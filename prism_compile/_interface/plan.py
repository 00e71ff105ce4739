"""How many steps bring every matrix of a condition number to a tolerance."""

from typing import NamedTuple

import numpy
import torch

from .._iteration.rule import Rule, StepInfo
from .._rules import rule_named
from .._rules.minimax import steps_for_interval
from .._torch import traced_constant
from .numbers import check_number, fixed

MOST_STEPS = 200
# The size that a call plans for: scaling may put the largest value of a larger matrix lower.
LARGE = 16384
# Points of an interval that a rule is followed on which no interval was built for.
_POINTS = 4001


@traced_constant
def _least(condition: float, n: int, scaling: str, squared: bool, margin: float) -> float:
    """The least x of a matrix of this condition number once it is scaled, for any spectrum.

    Equal values are scaled lowest: a Schatten norm is then n^(1/4) times the largest x, the Frobenius norm √n
    times the largest eigenvalue or singular value.
    """
    loose = n**0.25 if scaling == "schatten" else float(n) if squared else n**0.5
    return float(1 / (condition ** (2 if squared else 1) * loose * margin))


@traced_constant
def _steps_needed(least: float, tol: float, p: int, degree: int, name: str, squared: bool) -> int | None:
    """The fewest steps that bring [least, 1] within the tolerance; None if more than a run may have."""
    if name in ("adaptive", "minimax"):
        return steps_for_interval(least, tol, p, MOST_STEPS)
    # A fitted coefficient is at least the classical one, and raises what is small by more.
    rule = rule_named("taylor" if name == "prism" else name)
    x = numpy.geomspace(least, 1, _POINTS)
    for step in range(MOST_STEPS):
        info = StepInfo(step, MOST_STEPS, p, degree, torch.float64, squared)
        g0, g1, g2 = map(float, rule.complete(info))
        x = x * (g0 + (1 - x) * (g1 + (1 - x) * g2)) ** p
        if numpy.abs(1 - x).max() <= tol:
            return step + 1
    return None


class Plan(NamedTuple):
    """The settings that the number of steps depends on; squared: as in `Form`."""

    p: int
    degree: int
    rule: Rule
    scaling: str
    squared: bool

    def steps_and_interval(
        self, condition: object, tol: object, n: int = LARGE
    ) -> tuple[int, tuple[float, float]]:
        """The steps that a condition number and a tolerance need, and the interval of `Options`."""
        condition, tol = check_number("condition", condition, "≥ 1"), check_number("tol", tol, "in (0, 1)")
        condition, tol = fixed(condition), fixed(tol)
        largest = condition * condition if self.squared else condition
        if not (condition >= 1 and largest < float("inf")):
            square = ", its square too," if self.squared else ""
            raise ValueError(f"condition must be finite{square} and ≥ 1, got {condition}")
        if not 0 < tol < 1:
            raise ValueError(f"tol must be in (0, 1), got {tol}")
        least = _least(condition, n, self.scaling, self.squared, self.rule.margin() ** self.p)
        steps = _steps_needed(least, tol, self.p, self.degree, self.rule.name, self.squared)
        if steps is None:
            raise ValueError(
                f"rule {self.rule.name!r} does not reach tol = {tol} at condition {condition} "
                f"in {MOST_STEPS} steps"
            )
        # A call's own interval is for the size that calls plan for.
        return steps, (least, tol)
