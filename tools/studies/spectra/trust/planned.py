"""Whether `tol=` and `condition=` keep what they say."""

from itertools import product

import numpy
import torch
from numpy import ndarray
from torch import Tensor

from ...common.matrices import with_eigenvalues, with_singular_values
from ...common.results import format_table, show_progress
from .cases import FUNCTIONS, Function, alternating, of_condition

CONDITIONS, TOLERANCES = (3.0, 10.0, 1e2, 1e3, 1e4, 1e6, 1e8), (1e-2, 1e-6)
SIZES, LARGE_SIZES = (16, 64, 256), (1024, 2048)
# What is large is tried where scaling is loosest, or tightest, and as the old plans assumed.
_LARGE_FUNCTIONS, _LARGE_CONDITIONS = ("polar", "inv_sqrtm"), (1e2, 1e6)
_LARGE_SPECTRA = ("log-uniform", "half tiny", "one large")
# Rounding adds to a residual; see the docstring of `steps_for`.
_ROUNDINGS = 100


def _matrices(function: Function, spectra: dict[str, ndarray]) -> Tensor:
    values = numpy.stack(list(spectra.values()))
    if function.kind == "general":
        return with_singular_values(values)
    return with_eigenvalues(values * alternating(values.shape[1], function.other_sign))


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


def _runs(sizes: tuple[int, ...]) -> list[tuple[str, int, float, float]]:
    runs = []
    for n in sizes:
        large = n in LARGE_SIZES
        functions, conditions = (_LARGE_FUNCTIONS, _LARGE_CONDITIONS) if large else (FUNCTIONS, CONDITIONS)
        tolerances = TOLERANCES[:1] if large else TOLERANCES
        runs += [
            run for run in product(functions, (n,), conditions, tolerances) if _floor(*run[::2]) < run[3]
        ]
    return runs


def tolerance_table(sizes: tuple[int, ...], rule: str | None) -> str:
    """How many miss their tolerance, by function and size, and each of them."""
    found: dict[str, dict[int, list[float]]] = {}
    short, runs = [], _runs(sizes)
    for done, (name, n, condition, tol) in enumerate(runs, 1):
        spectra = of_condition(n, condition)
        if n in LARGE_SIZES:
            spectra = {spectrum: spectra[spectrum] for spectrum in _LARGE_SPECTRA}
        A = _matrices(FUNCTIONS[name], spectra)
        result = FUNCTIONS[name].call(A, tol=tol, condition=condition, rule=rule)
        for spectrum, residual in zip(spectra, residuals(name, A, result).tolist()):
            over = residual / (tol + _floor(name, condition))
            found.setdefault(name, {}).setdefault(n, []).append(over)
            # Written so that what is not a number is short.
            if not over <= 1:
                where = f"  {name:<10} n={n:<4} condition {condition:.0e} tol {tol:.0e}  {spectrum}"
                short.append((over, where))
        show_progress(done, len(runs), f"{name}, n = {n}, condition {condition:.0e}")

    def cell(overs: list[float]) -> str:
        few = sum(not over <= 1 for over in overs)
        return f"{few} of {len(overs)} ({max(overs):.2g})" if overs else ""

    rows = [(name, *(cell(by_size.get(n, [])) for n in sizes)) for name, by_size in found.items()]
    header = ("function", *(f"n = {n}" for n in sizes))
    title = "Planned by tol and condition, float64, 12 spectra: short of it (largest residual over tol)"
    lines = [f"{where}: {over:.2g} × tol" for over, where in sorted(short, reverse=True)]
    return "\n".join([format_table(header, rows, title), f"\n{len(short)} short", *lines])
