"""Whether `tol=` and `condition=` keep what they say, and how many steps they take."""

import torch
from torch import Tensor

import prism_compile

from ...common.matrices import with_eigenvalues, with_singular_values
from ...common.progress import show_progress
from ...common.tables import format_table
from .functions import FUNCTIONS, Function
from .inputs import of_condition

CONDITIONS = (3.0, 10.0, 1e2, 1e3, 1e4, 1e6, 1e8)
TOLERANCES = (1e-2, 1e-6)
SIZES, LARGE_SIZES = (16, 64, 256), (1024, 2048)
# What is large is tried where scaling is loosest, or tightest, and as the old plans assumed.
_LARGE = {
    "functions": ("polar", "inv_sqrtm"),
    "conditions": (1e2, 1e6),
    "spectra": ("log-uniform", "half tiny", "one large"),
}
_STEP_CONDITIONS = (1e2, 1e4, 1e6, 1e8, 1e12)
_STEP_TOLERANCE = 1e-3
# Rounding adds to a residual; see the docstring of `steps_for`.
_ROUNDINGS = 100


def _matrices(function: Function, spectra: dict) -> Tensor:
    if function.kind == "general":
        return torch.stack([with_singular_values(values) for values in spectra.values()])
    values = {name: v.copy() for name, v in spectra.items()}
    if function.kind == "signed":
        for each in values.values():
            each[1::2] *= -1
    return torch.stack([with_eigenvalues(each) for each in values.values()])


def residuals(name: str, A: Tensor, result: Tensor) -> Tensor:
    """√(mean r²) of each matrix, r the eigenvalues of what the function's iteration takes to zero."""
    function = FUNCTIONS[name]
    eye = torch.eye(A.shape[-1], dtype=A.dtype)
    if name == "polar":
        R = eye - result.mT @ result
    elif name == "signm":
        R = eye - result @ result
    elif name == "inv":
        R = eye - A @ result
    elif name == "sqrtm":
        # I - A^(-1/2) S² A^(-1/2), and S commutes with A.
        values, Q = torch.linalg.eigh(A)
        S = Q.mT @ result @ Q
        R = eye - S @ S / values.sqrt()[..., :, None] / values.sqrt()[..., None, :]
    else:
        R = eye - torch.linalg.matrix_power(result, function.p) @ A
    return R.square().sum((-2, -1)).div(A.shape[-1]).sqrt()


def _floor(name: str, condition: float) -> float:
    """What rounding may add in float64."""
    exponent = 1.0 if "sqrtm" in name or "root" in name else 1.5
    return _ROUNDINGS * torch.finfo(torch.float64).eps * condition**exponent


def tried(name: str, n: int, condition: float, tol: float, rule: str | None, only=None):
    """The spectra's residuals by name, as planned."""
    spectra = {k: v for k, v in of_condition(n, condition).items() if only is None or k in only}
    A = _matrices(FUNCTIONS[name], spectra)
    result = FUNCTIONS[name].call(A, tol=tol, condition=condition, rule=rule)
    return dict(zip(spectra, residuals(name, A, result).tolist()))


def _runs(sizes: tuple[int, ...]) -> list[tuple[str, int, float, float]]:
    runs = []
    for n in sizes:
        large = n in LARGE_SIZES
        for name in _LARGE["functions"] if large else FUNCTIONS:
            for condition in _LARGE["conditions"] if large else CONDITIONS:
                for tol in TOLERANCES[:1] if large else TOLERANCES:
                    if _floor(name, condition) < tol:
                        runs.append((name, n, condition, tol))
    return runs


def tolerance_table(sizes: tuple[int, ...], rule: str | None) -> str:
    """How many miss their tolerance, by function and size, and each of them."""
    found: dict[str, dict[int, list[float]]] = {}
    short = []
    runs = _runs(sizes)
    for done, (name, n, condition, tol) in enumerate(runs, 1):
        only = _LARGE["spectra"] if n in LARGE_SIZES else None
        for spectrum, residual in tried(name, n, condition, tol, rule, only).items():
            # Written so that what is not a number is short.
            over = residual / (tol + _floor(name, condition))
            found.setdefault(name, {}).setdefault(n, []).append(over)
            if not over <= 1:
                where = f"  {name:<10} n={n:<4} condition {condition:.0e} tol {tol:.0e}  {spectrum}"
                short.append((over, where))
        show_progress(done, len(runs), f"{name}, n = {n}, condition {condition:.0e}")
    rows = []
    for name, by_size in found.items():
        cells = []
        for n in sizes:
            overs = by_size.get(n, [])
            few = sum(not over <= 1 for over in overs)
            cells.append(f"{few} of {len(overs)} ({max(overs):.2g})" if overs else "")
        rows.append((name, *cells))
    header = ("function", *(f"n = {n}" for n in sizes))
    title = "Planned by tol and condition, float64, 12 spectra: short of it (largest residual over tol)"
    lines = [f"{where}: {over:.2g} × tol" for over, where in sorted(short, reverse=True)]
    return "\n".join([format_table(header, rows, title), f"\n{len(short)} short", *lines])


def least_steps(name: str, condition: float, tol: float, rule: str | None, n: int) -> int:
    """The least that all twelve spectra come within the tolerance after."""
    A = _matrices(FUNCTIONS[name], of_condition(n, condition))
    for steps in range(1, 31):
        result = FUNCTIONS[name].call(A, steps=steps, rule=rule)
        if residuals(name, A, result).max().item() <= tol:
            return steps
    return 31


def steps_table(rule: str | None, n: int = 64) -> str:
    """Steps of inv_sqrtm to 1e-3: as planned, and the least that any of the spectra needs."""
    rows = []
    for condition, bar in zip(_STEP_CONDITIONS, (4, 6, 8, 9, 12)):
        plan = prism_compile.steps_for("inv_sqrtm", condition=condition, tol=_STEP_TOLERANCE, rule=rule)
        # Beyond, float64's rounding is in the residual.
        tried_too = condition <= 1e8
        least = str(least_steps("inv_sqrtm", condition, _STEP_TOLERANCE, rule, n)) if tried_too else ""
        rows.append((f"{condition:.0e}", str(bar), str(plan), least))
    header = ("condition", "bar", "planned", f"by trial, n = {n}, 12 spectra")
    return format_table(header, rows, f"Steps of inv_sqrtm to a residual of {_STEP_TOLERANCE:g}")
