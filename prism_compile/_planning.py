"""How many steps bring every matrix of a condition number to a tolerance."""

from typing import NamedTuple

import numpy
import torch

from ._interface.numbers import check_integer, check_number, fixed
from ._interface.options import (
    RuleLike,
    check_degree,
    check_name,
    check_newton_steps,
    check_rule,
    default_rule,
    scaling_of,
)
from ._iteration.constants import traced_constant
from ._iteration.info import StepInfo
from ._rules import rule_named
from ._rules.minimax import steps_for_interval

_MOST_STEPS = 200
# Of a run whose call says nothing.
_DEFAULT_STEPS = 10
# The size that a call plans for: scaling may put the largest value of a larger matrix lower.
_LARGE = 16384
# Points of an interval that a rule is followed on which no interval was built for.
_POINTS = 4001


class Iteration(NamedTuple):
    """What planning knows of a function.

    p: the order, None where the caller says it. squared: as in `Form`, A's condition number is then squared.
    rule: what None stands for, where that is not the default of the degree.
    """

    p: int | None
    squared: bool = False
    rule: str | None = None


ITERATIONS = {
    "polar": Iteration(2, squared=True),
    "polar_factors": Iteration(2, squared=True),
    "signm": Iteration(2, squared=True, rule="prism"),
    "sqrtm": Iteration(2),
    "inv_sqrtm": Iteration(2),
    "sqrtm_pair": Iteration(2),
    "inv_root": Iteration(None),
    "inv": Iteration(1, squared=True),
}


@traced_constant
def _least(condition: float, n: int, scaling: str, squared: bool, margin: float) -> float:
    """The least x of a matrix of this condition number once it is scaled, whatever else its spectrum is.

    Equal values are scaled lowest: a Schatten norm is then n^(1/4) times the largest x, the Frobenius norm √n
    times the largest eigenvalue or singular value.
    """
    loose = n**0.25 if scaling == "schatten" else float(n) if squared else n**0.5
    return float(1 / (condition ** (2 if squared else 1) * loose * margin))


@traced_constant
def _steps_needed(least: float, tol: float, p: int, degree: int, name: str, squared: bool) -> int | None:
    """The fewest steps that bring [least, 1] within the tolerance; None if more than a run may have."""
    if name in ("adaptive", "minimax"):
        return steps_for_interval(least, tol, p, _MOST_STEPS)
    # A fitted coefficient is at least the classical one, and raises what is small by more.
    rule = rule_named("taylor" if name == "prism" else name)
    x = numpy.geomspace(least, 1, _POINTS)
    for step in range(_MOST_STEPS):
        info = StepInfo(step, _MOST_STEPS, p, degree, torch.float64, squared)
        g0, g1, g2 = map(float, rule.complete(info))
        x = x * (g0 + (1 - x) * (g1 + (1 - x) * g2)) ** p
        if numpy.abs(1 - x).max() <= tol:
            return step + 1
    return None


def steps_for(
    function: str,
    *,
    condition: float,
    tol: float,
    n: int = _LARGE,
    p: int | None = None,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
) -> int:
    """Steps that bring a function's residual to a tolerance, for every A of a given condition number.

    A bound and no estimate: the steps bring all of the interval that the scaled spectrum may lie in to one
    within the tolerance. `polar(A, tol=..., condition=...)`, and so every function, runs as many, for
    n = 16384. Nothing of it is traced, so it may be called while tracing.

    Args:
        function: its name: "polar", "polar_factors", "signm", "sqrtm", "inv_sqrtm", "sqrtm_pair", "inv_root"
            or "inv".
        condition: A's own condition number ≥ 1, the ratio of the largest to the smallest singular value. With
            `eps`, that of the damped matrix, which is at most 1 + n/eps.
        tol: what the eigenvalues r of the residual are to reach, and so its rms √(mean r²), in (0, 1). In
            working precision it cannot fall below about `eps · √condition` for the roots, `eps · condition`
            for the others.
        n: the smaller side of A, ≥ 1, or more; the larger, the looser is the bound that A is scaled by.
        p: order of the root, of `inv_root` only.
        degree, rule, scaling: as in the function, None being its default. For "prism", whose coefficients
            are known with A only, the number is that of the classical iteration.

    Returns:
        The number of steps.

    Raises:
        TypeError, ValueError: an argument is out of range, or the rule does not reach `tol` in 200 steps
            (Muon's "jordan" converges to no tolerance below about 0.3).

    Example:
        >>> import prism_compile
        >>> prism_compile.steps_for("polar", condition=100, tol=1e-3)
        6
        >>> prism_compile.steps_for("inv_root", condition=1e4, tol=1e-3, p=4, rule="taylor")
        11
    """
    check_name("function", function, tuple(ITERATIONS))
    order, squared, default = ITERATIONS[function]
    rule = default if rule is None else rule
    if order is not None and p is not None:
        raise ValueError(f"p must be None for {function!r}, whose order is {order}, got {p!r}")
    p = check_integer("p", p, 1) if order is None else order
    least, tol = _interval(condition, tol, check_integer("n", n, 1), p, squared, degree, rule, scaling)
    found = check_rule(default_rule(degree) if rule is None else rule, p, degree)
    needed = _steps_needed(least, tol, p, degree, found.name, squared)
    if needed is None:
        raise ValueError(
            f"rule {found.name!r} does not reach tol = {tol} at condition {condition} in {_MOST_STEPS} steps"
        )
    return needed


def _interval(
    condition: float,
    tol: float,
    n: int,
    p: int,
    squared: bool,
    degree: int,
    rule: RuleLike,
    scaling: str | None,
) -> tuple[float, float]:
    """The least x that a scaled matrix of this condition may have, and the tolerance, both checked."""
    condition, tol = check_number("condition", condition, "≥ 1"), check_number("tol", tol, "in (0, 1)")
    condition, tol = fixed(condition), fixed(tol)
    largest = condition * condition if squared else condition
    if not (condition >= 1 and largest < float("inf")):
        square = ", its square too," if squared else ""
        raise ValueError(f"condition must be finite{square} and ≥ 1, got {condition}")
    if not 0 < tol < 1:
        raise ValueError(f"tol must be in (0, 1), got {tol}")
    degree = check_degree(degree)
    found = check_rule(default_rule(degree) if rule is None else rule, p, degree)
    margin = found.margin() ** p
    return _least(condition, n, scaling_of(found, scaling), squared, margin), tol


class Plan(NamedTuple):
    """How a call runs: its steps and, where `tol` is given, the interval of `StepInfo`."""

    steps: int
    interval: tuple[float, float] | None


def planned(
    function: str,
    steps: int | None,
    tol: float | None,
    condition: float | None,
    degree: int,
    rule: RuleLike,
    scaling: str | None,
    newton_steps: int = 0,
    p: int | None = None,
) -> Plan:
    """The steps of a call: those given, as many as `tol` and `condition` need, or the default.

    Raises ValueError where a call says both, or half of the second.
    """
    if tol is None and condition is None:
        return Plan(_DEFAULT_STEPS if steps is None else steps, None)
    if steps is not None:
        other = "tol" if condition is None else "condition" if tol is None else "tol and condition"
        raise ValueError(f"steps must be None where {other} is given, got steps={steps!r}")
    if condition is None:
        raise ValueError("condition must be given where tol is, got None")
    if tol is None:
        raise ValueError("tol must be given where condition is, got None")
    if check_newton_steps(newton_steps, _MOST_STEPS):
        # Their coefficient is known with A only, and nothing bounds what it does to the least value.
        raise ValueError(f"newton_steps must be 0 where tol is given, got {newton_steps}")
    needed = steps_for(function, condition=condition, tol=tol, p=p, degree=degree, rule=rule, scaling=scaling)
    order, squared, default = ITERATIONS[function]
    rule = default if rule is None else rule
    order = p if order is None else order
    assert order is not None
    return Plan(needed, _interval(condition, tol, _LARGE, order, squared, degree, rule, scaling))
