"""The shared options, checked once and carried as one immutable value."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy

from .._rules import RULES, Row, Rule, custom_name, rule_named
from .numbers import check_integer, check_number, fixed

SCALINGS = ("schatten", "frobenius")
GRADIENTS = ("unrolled", "dual")
FORMS = ("auto", "direct", "gram")

# A name, the rows (a, b, c) of a table, or None for the default.
RuleLike = str | Sequence[Sequence[float]] | None


class Options(NamedTuple):
    """Static settings of a run; see `options_for` for what each may be."""

    p: int
    steps: int
    degree: int
    rule: Rule
    scaling: str
    sketch_size: int
    seed: int
    gradient: str
    history: bool
    form: str
    newton_steps: int = 0
    interval: tuple[float, float] | None = None


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


def default_rule(degree: int) -> str:
    """The rule that None stands for."""
    return "adaptive" if degree == 2 else "prism"


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
    """The rule of that name, or of a table's rows, if it serves this p and degree."""
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


def options_for(
    p: int,
    steps: int,
    degree: int,
    rule: RuleLike,
    scaling: str | None,
    sketch_size: int,
    seed: int,
    gradient: str,
    history: bool,
    form: str = "direct",
    newton_steps: int = 0,
    interval: tuple[float, float] | None = None,
) -> Options:
    """Check the shared options for an iteration of order p; `form` is of polar factors only.

    rule: a name or the rows of a table; None is the default, "adaptive", or "prism" for degree 1.

    Raises TypeError or ValueError naming the argument, what it was and what is allowed.
    """
    steps = check_integer("steps", steps, 1)
    degree = check_degree(degree)
    found = check_rule(default_rule(degree) if rule is None else rule, p, degree)
    scaling = scaling_of(found, scaling)
    sketch_size = check_integer("sketch_size", sketch_size, 1)
    seed = check_integer("seed", seed, 0)
    check_name("gradient", gradient, GRADIENTS)
    if not isinstance(history, bool):
        raise TypeError(f"history must be True or False, got {history!r}")
    check_name("form", form, FORMS)
    newton_steps = check_newton_steps(newton_steps, steps)
    return Options(
        p, steps, degree, found, scaling, sketch_size, seed, gradient, history, form, newton_steps, interval
    )
