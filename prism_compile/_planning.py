"""How many steps a function needs; the functions ask the same of their options."""

from typing import Any

from ._interface.numbers import check_integer
from ._interface.options import LARGE, RuleLike, check_name, check_order, plan_of
from ._inverse import InverseForm
from ._inverse_root import RootForm
from ._iteration.form import Form
from ._polar import FactorsForm, PolarForm
from ._sign import SignForm
from ._square_root import InverseSquareRootForm, PairForm, SquareRootForm

FORMS: dict[str, type[Form[Any]]] = {
    form.name: form
    for form in (
        *(PolarForm, FactorsForm, SignForm, SquareRootForm),
        *(InverseSquareRootForm, PairForm, RootForm, InverseForm),
    )
}


def steps_for(
    function: str,
    *,
    condition: float,
    tol: float,
    n: int = LARGE,
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
        tol: what the eigenvalues r of the residual are to reach, and so its rms √(mean r²), in (0, 1).
            Rounding comes on top. With ε the machine epsilon and κ the condition, a `History`, which has the
            worse side of inverse roots and of `inv`, then says up to about ε κ^(3/2) and ε κ².
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
    kind = FORMS[check_name("function", function, tuple(FORMS))]
    if kind.p is not None and p is not None:
        raise ValueError(f"p must be None for {function!r}, whose order is {kind.p}, got {p!r}")
    plan = plan_of(kind, check_order(kind, p), degree, rule, scaling)
    return plan.steps_and_interval(condition, tol, check_integer("n", n, 1))[0]
