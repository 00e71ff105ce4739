"""How many steps a run needs, from a simulation on a known spectrum."""

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from ._interface.numbers import check_integer, check_number
from ._interface.options import Options, check_degree, check_rule, default_rule
from ._iteration.basis import Basis, Polynomial
from ._iteration.constants import traced_constant
from ._iteration.form import Form
from ._iteration.loop import iterate
from ._iteration.probe import Probe, SpectrumProbe
from ._rules import RULES, Rule

_SPECTRUM_SIZE = 256
_MOST_STEPS = 200


class SpectrumForm(Form):
    """x ← x g(1 - x)ᵖ on known eigenvalues `[1, 1, n]`: the iteration on a diagonal matrix of any order p."""

    squared = False

    def __init__(self, p: int):
        self.p = p

    def prepare(self, A: Tensor) -> tuple[Tensor, Tensor]:
        return A, torch.ones_like(A[..., :1])

    def spectrum(self, A: Tensor) -> Tensor:
        return A

    def frobenius_bound(self, A: Tensor) -> Tensor:
        # As in the iteration on AᵀA: ‖A‖_F² is its trace.
        return A.sum(-1, keepdim=True)

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

    def results(self, state: Tensor, magnitude: Tensor, bound: Tensor) -> tuple[Tensor, ...]:
        return (state,)


def _residuals(condition: float, rule: Rule, steps: int, p: int, degree: int) -> list[float]:
    """The rms residuals of a run on a log-uniform spectrum, before each step and after the last."""
    options = Options(p, steps, degree, rule, rule.scaling, 1, 0, "unrolled", True, "direct")
    # A caller may be tracing: what is simulated here is no part of its graph.
    with _disable_current_modes(), torch.no_grad():
        exponents = torch.arange(_SPECTRUM_SIZE, dtype=torch.float64, device="cpu") / (1 - _SPECTRUM_SIZE)
        _, record = iterate(SpectrumForm(p), condition ** exponents[None, None], options)
        return record.history[0][0].tolist()


@traced_constant
def _steps_needed(condition: float, tol: float, p: int, degree: int, name: str) -> int | None:
    """The least number of steps; None if it is more than a run may have."""
    rule = RULES[name]
    # A rule that plans takes other steps in a longer run; the others' runs begin alike.
    lengths = range(1, _MOST_STEPS + 1) if rule.plans else (12, 40, _MOST_STEPS)
    for steps in lengths:
        residuals = _residuals(condition, rule, steps, p, degree)
        for step in range(steps if rule.plans else 1, steps + 1):
            if residuals[step] <= tol:
                return step
    return None


def steps_for(condition: float, *, tol: float, p: int = 2, degree: int = 2, rule: str | None = None) -> int:
    """Steps that bring the rms residual of a log-uniform spectrum to a tolerance.

    Runs the iteration on 256 known eigenvalues; that is not traced, so it may be called while tracing.

    Args:
        condition: ratio ≥ 1 of the largest to the smallest eigenvalue of the matrix whose root is taken.
            For `polar`, `signm` and `inv` that is the square of A's own condition number.
        tol: the rms residual √(mean r²) to reach, in (0, 1). In working precision it cannot fall below
            about `eps · √condition`.
        p: order of the iteration: 2 for polar, sign and square roots, 1 for `inv`, p for `inv_root`.
        degree, rule: as in the functions.

    Returns:
        The number of steps.

    Raises:
        TypeError, ValueError: an argument is out of range, or the rule does not reach `tol` in 200 steps
            (Muon's "jordan" converges to no tolerance below about 0.2).

    Example:
        >>> import prism_compile
        >>> prism_compile.steps_for(1e4, tol=1e-3)
        5
        >>> prism_compile.steps_for(1e4, tol=1e-3, rule="taylor")
        10
    """
    condition, tol = check_number("condition", condition, "≥ 1"), check_number("tol", tol, "in (0, 1)")
    if not 1 <= condition < float("inf"):
        raise ValueError(f"condition must be finite and ≥ 1, got {condition}")
    if not 0 < tol < 1:
        raise ValueError(f"tol must be in (0, 1), got {tol}")
    p, degree = check_integer("p", p, 1), check_degree(degree)
    rule = default_rule(degree) if rule is None else rule
    check_rule(rule, p, degree)
    needed = _steps_needed(condition, tol, p, degree, rule)
    if needed is None:
        raise ValueError(
            f"rule {rule!r} does not reach tol = {tol} at condition {condition} in {_MOST_STEPS} steps"
        )
    return needed
