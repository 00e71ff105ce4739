"""How many steps a run needs, from a simulation on a known spectrum."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from ._interface.numbers import check_integer, check_number, fixed
from ._interface.options import (
    Options,
    RuleLike,
    check_degree,
    check_name,
    check_newton_steps,
    check_rule,
    default_rule,
    scaling_of,
)
from ._iteration.basis import Basis, Mixture, Polynomial
from ._iteration.constants import traced_constant
from ._iteration.form import Form
from ._iteration.loop import iterate
from ._iteration.probe import Probe, SpectrumProbe
from ._rules import Rule, rule_named

_SPECTRUM_SIZE = 256
_MOST_STEPS = 200
# Of a run whose call says nothing.
_DEFAULT_STEPS = 10


class Iteration(NamedTuple):
    """What planning knows of a function.

    p: the order, None where the caller says it. squared: as in `Form`, A's condition number is then squared.
    rule: its default, None for that of the degree.
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


class SpectrumForm(Form):
    """x ← x g(1 - x)ᵖ on known eigenvalues `[1, 1, n]`: the iteration on a diagonal matrix of any order p.

    squared: whether they are the squares of what A is made of; see `Form`.
    """

    def __init__(self, p: int, squared: bool = False):
        self.p = p
        self.squared = squared  # type: ignore[misc]  # of its class in the other forms

    def prepare(self, A: Tensor) -> tuple[Tensor, Tensor]:
        return A, torch.ones_like(A[..., :1])

    def spectrum(self, A: Tensor) -> Tensor:
        return A

    def frobenius_bound(self, A: Tensor) -> Tensor:
        # Of the iteration on AᵀA: ‖A‖_F² is its trace.
        return A.sum(-1, keepdim=True) if self.squared else A.square().sum(-1, keepdim=True).sqrt()

    def start(self, A: Tensor, bound: Tensor) -> Tensor:
        return A / bound

    def identity(self, A: Tensor) -> Tensor:
        return torch.ones_like(A)

    def residual(self, state: Tensor, identity: Tensor) -> Tensor:
        return identity - state

    def quadratic(self, R: Tensor, linear: float, square: float = 1) -> Tensor:
        return R * (linear + square * R)

    def probe(self, basis: Basis, first: Tensor, second: Tensor) -> Probe:
        return SpectrumProbe(basis, first, second)

    def update(self, state: Tensor, polynomial: Polynomial, last: bool) -> Tensor:
        return state * polynomial.matrix() ** self.p

    def inverse(self, state: Tensor, M: Tensor) -> Tensor:
        return 1 / M

    def mixed(self, state: Tensor, mixture: Mixture, last: bool) -> Tensor:
        return state * mixture.of(mixture.identity) ** self.p

    def rescaled(self, state: Tensor, bound: Tensor) -> Tensor:
        return state / bound

    def asymmetry(self, A: Tensor, state: Tensor) -> Tensor:
        return torch.zeros_like(A[:, 0, 0])

    def results(self, state: Tensor, magnitude: Tensor, bound: Tensor) -> tuple[Tensor, ...]:
        return (state,)


def _residuals(
    condition: float,
    rule: Rule,
    steps: int,
    p: int,
    degree: int,
    scaling: str | None = None,
    squared: bool = False,
    newton_steps: int = 0,
) -> list[float]:
    """The rms residuals of a run on a log-uniform spectrum, before each step and after the last."""
    scaling = rule.scaling if scaling is None else scaling
    options = Options(p, steps, degree, rule, scaling, 1, 0, "unrolled", True, "direct", newton_steps)
    # A caller may be tracing: what is simulated here is no part of its graph.
    with _disable_current_modes(), torch.no_grad():
        exponents = torch.arange(_SPECTRUM_SIZE, dtype=torch.float64, device="cpu") / (1 - _SPECTRUM_SIZE)
        _, record = iterate(SpectrumForm(p, squared), condition ** exponents[None, None], options)
        return record.history[0][0].tolist()


@traced_constant
def _steps_needed(
    condition: float,
    tol: float,
    p: int,
    degree: int,
    name: str,
    scaling: str,
    squared: bool,
    newton_steps: int,
) -> int | None:
    """The least number of steps; None if it is more than a run may have."""
    rule = rule_named(name)
    # A rule that plans takes other steps in a longer run, and Newton's are followed by a scaling; all else
    # begins alike.
    each = rule.plans or newton_steps > 0
    lengths = range(max(1, newton_steps), _MOST_STEPS + 1) if each else (12, 40, _MOST_STEPS)
    for steps in lengths:
        residuals = _residuals(condition, rule, steps, p, degree, scaling, squared, newton_steps)
        for step in range(steps if each else 1, steps + 1):
            if residuals[step] <= tol:
                return step
    return None


def steps_for(
    function: str,
    *,
    condition: float,
    tol: float,
    p: int | None = None,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    newton_steps: int = 0,
) -> int:
    """Steps that bring a function's rms residual to a tolerance, for A of a given condition number.

    Runs the function's iteration on 256 log-uniform eigenvalues; that is not traced, so it may be called
    while tracing. `polar(A, tol=..., condition=...)`, and so every function, runs as many.

    Args:
        function: its name: "polar", "polar_factors", "signm", "sqrtm", "inv_sqrtm", "sqrtm_pair", "inv_root"
            or "inv".
        condition: A's own condition number ≥ 1, the ratio of the largest to the smallest singular value. With
            `eps`, that of the damped matrix, which is at most 1 + n/eps.
        tol: the rms residual √(mean r²) to reach, in (0, 1). In working precision it cannot fall below about
            `eps · √condition` for the roots, `eps · condition` for the others.
        p: order of the root, of `inv_root` only.
        degree, rule, scaling: as in the function; None is its default, "prism" for `signm`.
        newton_steps: how many of the steps use an inverse, ≤ 200; for p = 2 only.

    Returns:
        The number of steps, those with an inverse included, and never less than these.

    Raises:
        TypeError, ValueError: an argument is out of range, or the rule does not reach `tol` in 200 steps
            (Muon's "jordan" converges to no tolerance below about 0.2).

    Example:
        >>> import prism_compile
        >>> prism_compile.steps_for("polar", condition=100, tol=1e-3)
        5
        >>> prism_compile.steps_for("inv_root", condition=1e4, tol=1e-3, p=4, rule="taylor")
        9
    """
    check_name("function", function, tuple(ITERATIONS))
    order, squared, default = ITERATIONS[function]
    if order is not None and p is not None:
        raise ValueError(f"p must be None for {function!r}, whose order is {order}, got {p!r}")
    p = check_integer("p", p, 1) if order is None else order
    condition, tol = check_number("condition", condition, "≥ 1"), check_number("tol", tol, "in (0, 1)")
    condition, tol = fixed(condition), fixed(tol)
    largest = condition * condition if squared else condition
    if not (condition >= 1 and largest < float("inf")):
        square = ", its square too," if squared else ""
        raise ValueError(f"condition must be finite{square} and ≥ 1, got {condition}")
    if not 0 < tol < 1:
        raise ValueError(f"tol must be in (0, 1), got {tol}")
    degree = check_degree(degree)
    found = check_rule((default or default_rule(degree)) if rule is None else rule, p, degree)
    newton_steps = check_newton_steps(newton_steps, _MOST_STEPS)
    if newton_steps and p != 2:
        raise ValueError(f"newton_steps must be 0 for an iteration of order p = {p}, got {newton_steps}")
    scaling = scaling_of(found, scaling)
    needed = _steps_needed(largest, tol, p, degree, found.name, scaling, squared, newton_steps)
    if needed is None:
        raise ValueError(
            f"rule {found.name!r} does not reach tol = {tol} at condition {condition} in {_MOST_STEPS} steps"
        )
    return needed


def planned_steps(
    function: str,
    steps: int | None,
    tol: float | None,
    condition: float | None,
    degree: int,
    rule: RuleLike,
    scaling: str | None,
    newton_steps: int = 0,
    p: int | None = None,
) -> int:
    """The steps of a call: those given, as many as `tol` and `condition` need, or the default.

    Raises ValueError where a call says both, or half of the second.
    """
    if tol is None and condition is None:
        return _DEFAULT_STEPS if steps is None else steps
    if steps is not None:
        other = "tol" if condition is None else "condition" if tol is None else "tol and condition"
        raise ValueError(f"steps must be None where {other} is given, got steps={steps!r}")
    if condition is None:
        raise ValueError("condition must be given where tol is, got None")
    if tol is None:
        raise ValueError("tol must be given where condition is, got None")
    return steps_for(
        function,
        condition=condition,
        tol=tol,
        p=p,
        degree=degree,
        rule=default_rule(check_degree(degree)) if rule is None else rule,
        scaling=scaling,
        newton_steps=newton_steps,
    )
