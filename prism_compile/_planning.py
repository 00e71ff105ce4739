"""How many steps a run needs, from a simulation on scalars."""

from collections.abc import Iterator

import torch

from ._iteration.rules import RULES, Rule, StepInfo
from ._options import check_degree, check_integer, check_rule

_SPECTRUM_SIZE = 256
_MOST_STEPS = 200


def _scaled_spectrum(condition: float, scaling: str, margin: float) -> list[float]:
    """Log-uniform eigenvalues in [1/condition, 1] over the bound that the scaling would find."""
    last = _SPECTRUM_SIZE - 1
    spectrum = [condition ** (-i / last) for i in range(_SPECTRUM_SIZE)]
    # As in the iteration on AᵀA: its Schatten-4 norm, or ‖A‖_F², its trace.
    bound = sum(x**4 for x in spectrum) ** 0.25 if scaling == "schatten" else sum(spectrum)
    return [x / (bound * margin**2) for x in spectrum]


def _residuals(spectrum: list[float], rule: Rule, steps: int, p: int, degree: int) -> Iterator[list[float]]:
    """The residuals of a run on scalars before each step, and after the last."""
    fitted = ()
    for step in range(steps):
        residuals = [1 - x for x in spectrum]
        yield residuals
        info = StepInfo(step, steps, p, degree)
        fitted = rule.scalar_fit(info, residuals, fitted)
        g0, g1, g2 = rule.complete(info, *fitted)
        spectrum = [x * (g0 + g1 * r + g2 * r * r) ** p for x, r in zip(spectrum, residuals)]
    yield [1 - x for x in spectrum]


# Dynamo would make tensors of the simulation's numpy arrays.
@torch.compiler.assume_constant_result
def _steps_needed(condition: float, tol: float, p: int, degree: int, name: str) -> int | None:
    """The least number of steps; None if it is more than a run may have."""
    rule = RULES[name]
    spectrum = _scaled_spectrum(condition, rule.scaling, rule.margin)
    # A rule that plans takes other steps in a longer run.
    for steps in range(1, _MOST_STEPS + 1) if rule.plans else (_MOST_STEPS,):
        for step, residuals in enumerate(_residuals(spectrum, rule, steps, p, degree)):
            if step < steps and rule.plans:
                continue
            if sum(r * r for r in residuals) <= tol**2 * len(residuals):
                return max(step, 1)
    return None


def steps_for(condition: float, *, tol: float, p: int = 2, degree: int = 2, rule: str = "prism") -> int:
    """Steps that bring the rms residual of a log-uniform spectrum to a tolerance.

    Simulates the iteration on 256 scalar eigenvalues; uses no tensors, so it may be called while tracing.

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
        6
        >>> prism_compile.steps_for(1e4, tol=1e-3, rule="taylor")
        10
    """
    for name, value in (("condition", condition), ("tol", tol)):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    if not 1 <= condition < float("inf"):
        raise ValueError(f"condition must be finite and ≥ 1, got {condition}")
    if not 0 < tol < 1:
        raise ValueError(f"tol must be in (0, 1), got {tol}")
    p, degree = check_integer("p", p, 1), check_degree(degree)
    check_rule(rule, p, degree)
    needed = _steps_needed(condition, tol, p, degree, rule)
    if needed is None:
        raise ValueError(
            f"rule {rule!r} does not reach tol = {tol} at condition {condition} in {_MOST_STEPS} steps"
        )
    return needed
