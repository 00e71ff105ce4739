"""Figures of Newton's steps, all or the leading one, against polynomials and a decomposition; eager."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

import prism_compile

from ..common.matrices import definite, log_spaced, with_singular_values
from ..common.oracles import eigh_power, orthogonality_error, relative_error, svd_polar
from .figure import Bench, Figure, compared
from .problems import fewest_steps

_TARGET = 1e-6
_MOST = 8


@dataclass(frozen=True)
class _Case:
    function: Callable[..., Tensor]
    A: Tensor
    decomposition: str
    decomposed: Callable[[Tensor], Tensor]
    quality: Callable[[Tensor], float]


def _case(bench: Bench, name: str, n: int, condition: float) -> _Case:
    function = getattr(prism_compile, name)
    if name == "polar":
        A = with_singular_values(log_spaced(n, condition)).to(bench.device)
        return _Case(function, A, "linalg.svd", svd_polar, orthogonality_error)
    A, root = definite(n, condition), partial(eigh_power, exponent=0.5)
    return _Case(function, A.to(bench.device), "linalg.eigh", root, partial(relative_error, exact=root(A)))


def _variants(case: _Case) -> dict[str, tuple[int, int]]:
    """Newton steps and all steps of each mixture, the fewest within the target."""
    found = {}
    for newton in range(_MOST + 1):
        steps = fewest_steps(case.function, case.A, case.quality, _TARGET, newton_steps=newton)
        if steps is None:
            continue
        # As many Newton steps as bring it there alone.
        if newton == steps:
            found["all Newton"] = newton, steps
            break
        if newton < 2:
            found["1 Newton" if newton else "polynomials"] = newton, steps
    return found


def newton_steps(bench: Bench, name: str, n: int, condition: float) -> list[Figure]:
    """Each mixture with a Newton step against polynomials, and against the decomposition."""
    case = _case(bench, name, n, condition)
    variants = _variants(case)
    runs = {case.decomposition: partial(case.decomposed, case.A)}
    labels = {case.decomposition: case.decomposition}
    for key, (newton, steps) in variants.items():
        runs[key] = partial(case.function, case.A, steps=steps, newton_steps=newton)
        labels[key] = f"{key}, {steps} steps"
    times = bench.time(runs)
    what = f"{name} to {_TARGET:.0e}, condition {condition:.0e}, {n}x{n} float64, eager"
    pairs = [(a, b) for a in ("1 Newton", "all Newton") for b in ("polynomials", case.decomposition)]
    return [
        compared(f"{what}: {labels[a]} / {labels[b]}", times, a, b) for a, b in pairs if {a, b} <= runs.keys()
    ]
