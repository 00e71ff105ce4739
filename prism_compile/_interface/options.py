"""The options of a call: checked, resolved and carried as one immutable value.

Where `tol` and `condition` are given, so is how many steps bring every matrix of a condition number to a
tolerance.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy
import torch

from .._iteration.form import Form
from .._iteration.rule import Options, Rule, StepInfo
from .._rules import RULES, Row, custom_name, rule_named
from .._rules.minimax import steps_for_interval
from .._torch import traced_constant
from .numbers import check_integer, check_number, fixed

SCALINGS = ("schatten", "frobenius")
GRADIENTS = ("unrolled", "dual")
FORMS = ("auto", "direct", "gram")
SIDES = ("right", "left")
# Of a run whose call says nothing.
DEFAULT_STEPS = 10
MOST_STEPS = 200
# The size that a call plans for: scaling may put the largest value of a larger matrix lower.
LARGE = 16384
# Points of an interval that a rule is followed on which no interval was built for.
_POINTS = 4001

# A name, the rows (a, b, c) of a table, or None for the default.
RuleLike = str | Sequence[Sequence[float]] | None


def check_newton_steps(newton_steps: object, steps: int) -> int:
    newton_steps = check_integer("newton_steps", newton_steps, 0)
    if newton_steps > steps:
        raise ValueError(f"newton_steps must be ≤ steps = {steps}, got {newton_steps}")
    return newton_steps


def check_degree(degree: object) -> int:
    degree = check_integer("degree", degree, 1)
    if degree > 2:
        raise ValueError(f"degree must be 1 or 2, got {degree}")
    return degree


def check_name(name: str, value: object, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def check_flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


def check_fraction(name: str, value: object) -> float:
    number = fixed(check_number(name, value, "in (0, 1)"))
    if not 0 < number < 1:
        raise ValueError(f"{name} must be in (0, 1), got {number}")
    return number


def check_table(rows: Iterable[Sequence[object]], name: str = "rule") -> tuple[Row, ...]:
    """The rows (a, b, c) of a table x ← a x + b x³ + c x⁵, as a tuple of tuples of Python's numbers."""
    allowed = f"{name} must have three finite numbers (a, b, c) a row"
    table: list[Row] = []
    for row in rows:
        if not isinstance(row, (tuple, list, numpy.ndarray)) or len(row) != 3:
            raise ValueError(f"{allowed}, got the row {row!r}")
        a, b, c = (fixed(float(check_number(f"each number of {name}", number))) for number in row)
        numbers = (a, b, c)
        if not all(abs(number) < float("inf") for number in numbers):
            raise ValueError(f"{allowed}, got {numbers}")
        table.append(numbers)
    if not table:
        raise ValueError(f"{allowed}, got no row")
    return tuple(table)


def check_rule(rule: object, p: int, degree: int) -> Rule:
    """The rule of that name or of a table's rows, if it serves this p and degree; None is the default."""
    if rule is None:
        rule = "adaptive" if degree == 2 else "prism"
    if isinstance(rule, (tuple, list, numpy.ndarray)):
        name = custom_name(check_table(rule))
    else:
        name = check_name("rule", rule, tuple(RULES))
    found = rule_named(name)
    if found.orders is not None and p not in found.orders:
        serving = tuple(name for name, r in RULES.items() if r.orders is None or p in r.orders)
        raise ValueError(
            f"rule must be one of {', '.join(map(repr, serving))} for an iteration of order p = {p}, "
            f"got {rule!r}, which is for p in {found.orders}"
        )
    if degree not in found.degrees:
        raise ValueError(f"degree must be one of {found.degrees} for rule {rule!r}, got {degree}")
    return found


def scaling_of(rule: Rule, scaling: object) -> str:
    """The scaling, None being that of the rule's source."""
    return check_name("scaling", rule.scaling if scaling is None else scaling, SCALINGS)


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
        condition, tol = fixed(check_number("condition", condition, "≥ 1")), check_fraction("tol", tol)
        largest = condition * condition if self.squared else condition
        if not (condition >= 1 and largest < float("inf")):
            square = ", its square too," if self.squared else ""
            raise ValueError(f"condition must be finite{square} and ≥ 1, got {condition}")
        least = _least(condition, n, self.scaling, self.squared, self.rule.margin() ** self.p)
        steps = _steps_needed(least, tol, self.p, self.degree, self.rule.name, self.squared)
        if steps is None:
            raise ValueError(
                f"rule {self.rule.name!r} does not reach tol = {tol} at condition {condition} "
                f"in {MOST_STEPS} steps"
            )
        # A call's own interval is for the size that calls plan for.
        return steps, (least, tol)


def check_order(kind: type[Form[Any]], p: object) -> int:
    """The order of a function's iteration, the caller's where the function leaves it open."""
    return check_integer("p", p, 1) if kind.p is None else kind.p


def plan_of(kind: type[Form[Any]], p: int, degree: int, rule: object, scaling: object) -> Plan:
    """What the number of steps depends on besides `tol` and `condition`."""
    found = check_rule(kind.rule if rule is None else rule, p, check_degree(degree))
    return Plan(p, degree, found, scaling_of(found, scaling), kind.squared)


def options_for(
    kind: type[Form[Any]],
    /,
    *,
    p: int | None = None,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool = False,
    form: str = "auto",
    side: str = "right",
    rotation: bool = False,
    rtol: float = 0.0,
) -> Options:
    """Check the options of a function and resolve those that others decide.

    Raises TypeError or ValueError naming the argument, what it was and what is allowed.
    """
    plan, interval = plan_of(kind, check_order(kind, p), degree, rule, scaling), None
    if tol is not None or condition is not None:
        _check_planned(steps, tol, condition, newton_steps)
        steps, interval = plan.steps_and_interval(condition, tol)
    steps = check_integer("steps", DEFAULT_STEPS if steps is None else steps, 1)
    return Options(
        p=plan.p,
        steps=steps,
        degree=plan.degree,
        rule=plan.rule,
        scaling=plan.scaling,
        sketch_size=check_integer("sketch_size", sketch_size, 1),
        seed=check_integer("seed", seed, 0),
        gradient=check_name("gradient", gradient, GRADIENTS),
        history=check_flag("history", history),
        form=check_name("form", form, FORMS),
        side=check_name("side", side, SIDES),
        newton_steps=check_newton_steps(newton_steps, steps),
        interval=interval,
        rotation=check_flag("rotation", rotation),
        rtol=rtol,
    )


def _check_planned(steps: object, tol: object, condition: object, newton_steps: object) -> None:
    """Refuse a call that says `steps` too, or only one of `tol` and `condition`."""
    if steps is not None:
        other = "tol" if condition is None else "condition" if tol is None else "tol and condition"
        raise ValueError(f"steps must be None where {other} is given, got steps={steps!r}")
    if condition is None:
        raise ValueError("condition must be given where tol is, got None")
    if tol is None:
        raise ValueError("tol must be given where condition is, got None")
    if check_newton_steps(newton_steps, MOST_STEPS):
        # Their coefficient is known with A only, and nothing bounds what it does to the least value.
        raise ValueError(f"newton_steps must be 0 where tol is given, got {newton_steps}")
