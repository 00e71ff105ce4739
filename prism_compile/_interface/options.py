"""The shared options, checked once and carried as one immutable value."""

from operator import index
from typing import NamedTuple

from .._rules import RULES, Rule

SCALINGS = ("schatten", "frobenius")
GRADIENTS = ("unrolled", "dual")
FORMS = ("auto", "direct", "gram")


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


def check_integer(name: str, value: object, lowest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int ≥ {lowest}, got {value!r} of type {type(value).__name__}")
    if value < lowest:
        raise ValueError(f"{name} must be ≥ {lowest}, got {value}")
    # Options shape the graph: `index` makes Dynamo specialise on what it would trace as a symbol.
    return index(value)


def check_degree(degree: object) -> int:
    degree = check_integer("degree", degree, 1)
    if degree > 2:
        raise ValueError(f"degree must be 1 or 2, got {degree}")
    return degree


def check_name(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def default_rule(degree: int) -> str:
    """The rule that None stands for."""
    return "adaptive" if degree == 2 else "prism"


def check_rule(rule: str, p: int, degree: int) -> Rule:
    """The rule of that name, if it serves this p and degree."""
    check_name("rule", rule, tuple(RULES))
    found = RULES[rule]
    if found.orders is not None and p not in found.orders:
        serving = tuple(name for name, r in RULES.items() if r.orders is None or p in r.orders)
        raise ValueError(
            f"rule must be one of {', '.join(map(repr, serving))} for an iteration of order p = {p}, "
            f"got {rule!r}, which is for p in {found.orders}"
        )
    if degree not in found.degrees:
        raise ValueError(f"degree must be one of {found.degrees} for rule {rule!r}, got {degree}")
    return found


def options_for(
    p: int,
    steps: int,
    degree: int,
    rule: str | None,
    scaling: str | None,
    sketch_size: int,
    seed: int,
    gradient: str,
    history: bool,
    form: str = "direct",
) -> Options:
    """Check the shared options for an iteration of order p; `form` is of polar factors only.

    rule: None is the default of every function, "adaptive", or "prism" for degree 1.

    Raises TypeError or ValueError naming the argument, what it was and what is allowed.
    """
    steps = check_integer("steps", steps, 1)
    degree = check_degree(degree)
    found = check_rule(default_rule(degree) if rule is None else rule, p, degree)
    if scaling is None:
        scaling = found.scaling
    check_name("scaling", scaling, SCALINGS)
    sketch_size = check_integer("sketch_size", sketch_size, 1)
    seed = check_integer("seed", seed, 0)
    check_name("gradient", gradient, GRADIENTS)
    if not isinstance(history, bool):
        raise TypeError(f"history must be True or False, got {history!r}")
    check_name("form", form, FORMS)
    return Options(p, steps, degree, found, scaling, sketch_size, seed, gradient, history, form)
