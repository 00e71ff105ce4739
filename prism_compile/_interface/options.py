"""The shared options, checked once and carried as one immutable value."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy

from .._iteration.form import Form
from .._iteration.rule import Options, Rule
from .._rules import RULES, Row, custom_name, rule_named
from .numbers import check_integer, check_number, fixed
from .plan import MOST_STEPS, Plan

SCALINGS = ("schatten", "frobenius")
GRADIENTS = ("unrolled", "dual")
FORMS = ("auto", "direct", "gram")
SIDES = ("right", "left")
# Of a run whose call says nothing.
DEFAULT_STEPS = 10

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
) -> Options:
    """Check the options of a function and resolve those that others decide.

    Raises TypeError or ValueError naming the argument, what it was and what is allowed.
    """
    plan, interval = plan_of(kind, check_order(kind, p), degree, rule, scaling), None
    if tol is not None or condition is not None:
        _check_planned(steps, tol, condition, newton_steps)
        steps, interval = plan.steps_and_interval(condition, tol)
    steps = check_integer("steps", DEFAULT_STEPS if steps is None else steps, 1)
    if not isinstance(history, bool):
        raise TypeError(f"history must be True or False, got {history!r}")
    return Options(
        p=plan.p,
        steps=steps,
        degree=plan.degree,
        rule=plan.rule,
        scaling=plan.scaling,
        sketch_size=check_integer("sketch_size", sketch_size, 1),
        seed=check_integer("seed", seed, 0),
        gradient=check_name("gradient", gradient, GRADIENTS),
        history=history,
        form=check_name("form", form, FORMS),
        side=check_name("side", side, SIDES),
        newton_steps=check_newton_steps(newton_steps, steps),
        interval=interval,
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
