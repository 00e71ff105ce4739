"""Bars on single inputs: low rank, kernel matrices, one tiny value, and half precision."""

from functools import partial
from typing import NamedTuple

import numpy
import torch
from numpy import ndarray
from torch import Tensor

import prism_compile

from ...common.matrices import gaussian, log_spaced, with_singular_values
from ...common.oracles import relative_errors
from ...common.tables import format_table
from .functions import FUNCTIONS, case, case_of
from .inputs import Spectrum, hilbert, one_tiny, rbf

_LOW_RANK_STEPS = (5, 8, 10, 14, 20, 40)
_RANKS = ((64, 64, 1), (64, 64, 8), (120, 120, 10), (64, 64, 32), (96, 64, 20), (64, 64, 60))


class Row(NamedTuple):
    """What is held to an error, and on which input.

    squared: whether the error is ‖S² - A‖/‖A‖; of a kernel matrix the square root of a rounding error shows
    in S itself.
    """

    function: str
    spectrum: Spectrum
    name: str
    dtype: torch.dtype
    steps: int
    bar: float
    squared: bool = False


def rows(n: int = 64) -> list[Row]:
    def of(values: ndarray) -> Spectrum:
        return Spectrum("", values, n, values if values.ndim == 2 else None)

    double, single, tiny = torch.float64, torch.float32, partial(one_tiny, n)
    return [
        Row("sqrtm", of(rbf(n, 0.1)), "RBF", double, 8, 1e-7, squared=True),
        Row("sqrtm", of(rbf(n, 0.1)), "RBF", double, 10, 1e-9, squared=True),
        Row("sqrtm", of(hilbert(n)), "Hilbert", double, 10, 1e-9, squared=True),
        Row("polar", of(tiny(1e-5)), "ones and 1e-5", single, 12, 3e-6),
        Row("polar", of(tiny(1e-5)), "ones and 1e-5", single, 14, 3e-6),
        Row("polar", of(tiny(1e-6)), "ones and 1e-6", double, 14, 1e-9),
        Row("inv", of(tiny(1e-3)), "ones and 1e-3", double, 10, 1e-12),
        Row("inv_sqrtm", of(log_spaced(n, 1e6)), "condition 1e6", double, 8, 1e-10),
        Row("inv_sqrtm", of(log_spaced(n, 1e8)), "condition 1e8", double, 10, 1e-8),
    ]


def _label(rule: str | None) -> str:
    return rule or "default"


def _error(row: Row, rule: str | None) -> float:
    function = FUNCTIONS[row.function]
    tried = case(function, row.spectrum, row.dtype)
    result = function.call(tried.A, steps=row.steps, rule=rule)
    if row.squared:
        return relative_errors(result.double() @ result.double(), tried.A.double()).item()
    return tried.error(result)


def rows_table(rules: tuple[str | None, ...]) -> str:
    """Relative errors beside the bars; the first rule is held to them."""
    lines = []
    for row in rows():
        served = FUNCTIONS[row.function].rivals()
        errors = {r: _error(row, r) for r in rules if r in served or r is rules[0]}
        what = f"{row.function}{' (S² - A)' * row.squared}, {row.name}, {str(row.dtype)[6:]}, K = {row.steps}"
        verdict = "" if errors[rules[0]] <= row.bar else "above"
        cells = (f"{errors[rule]:.1e}" if rule in errors else "" for rule in rules)
        lines.append((what, f"{row.bar:.0e}", *cells, verdict))
    return format_table(("relative error", "bar", *map(_label, rules), ""), lines, "Single inputs")


def _low_rank_matrix(m: int, n: int, rank: int, condition: float) -> Tensor:
    """`[m, n]`, float64, with rank singular values from 1 down to 1/condition and else zeros."""
    left, right = (with_singular_values(numpy.ones(size), seed)[:, :rank] for seed, size in enumerate((m, n)))
    return left * torch.from_numpy(log_spaced(rank, condition)) @ right.mT


def _low_rank_error(dtype: torch.dtype, steps: int, rule: str | None) -> float:
    """The worst over ranks, sizes, and a true part that is flat or falls to 1/30."""
    worst = 0.0
    for m, n, rank in _RANKS:
        for condition in (1.0, 30.0):
            A = _low_rank_matrix(m, n, rank, condition).to(dtype)
            result = prism_compile.polar(A, steps=steps, rule=rule, form="direct")
            worst = max(worst, case_of(FUNCTIONS["polar"], A, rank).error(result))
    return worst


def low_rank_table(rules: tuple[str | None, ...]) -> str:
    """polar of exactly low rank, on A's own row space."""
    lines = []
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for i, rule in enumerate(rules):
            errors = (f"{_low_rank_error(dtype, count, rule):.1e}" for count in _LOW_RANK_STEPS)
            lines.append(("" if i else str(dtype)[6:], _label(rule), *errors))
    header = ("precision", "rule", *(f"K = {count}" for count in _LOW_RANK_STEPS))
    title = "polar of low rank, direct form, the worst error on A's own row space (bars: 5 steps .15;"
    title += " float32 1e-5 from 8, float64 1e-12 from 10, bfloat16 1.5e-2 from 8)"
    return format_table(header, lines, title, left=(0, 1))


def muon_leak(rule: str | None = None, n: int = 256, rank: int = 8) -> float:
    """‖(I - P) U‖_F of Muon's direction U of a rank-8 bfloat16 gradient, P onto its column space; ideal 0."""
    weight = torch.nn.Parameter(torch.zeros(n, n, dtype=torch.bfloat16))
    weight.grad = (gaussian((n, rank)) @ gaussian((rank, n), seed=1)).to(weight.dtype)
    options = {} if rule is None else {"rule": rule}
    optimizer = prism_compile.optim.Muon([weight], lr=1.0, weight_decay=0.0, compile=False, **options)
    optimizer.step()
    columns, U = torch.linalg.svd(weight.grad.double())[0][:, :rank], weight.detach().double()
    return (U - columns @ (columns.T @ U)).norm().item()


def half_growth(dtype: torch.dtype, steps: int, rule: str | None, n: int = 128) -> float:
    """The largest σ of a half-precision result over one, or over that of float64: low rank and noise."""
    left, right, noise = (gaussian((n, columns), seed=columns) for columns in (n // 16, n // 16 + 1, n))
    A = (left @ right[:, 1:].T / n + 1e-2 / n**0.5 * noise).to(dtype)
    results = (prism_compile.polar(a, steps=steps, rule=rule).double() for a in (A, A.double()))
    half, exact = (torch.linalg.matrix_norm(result, 2).item() for result in results)
    return half / max(exact, 1.0)


def half_table(rules: tuple[str | None, ...]) -> str:
    """Growth by rounding, and what rounding adds to Muon's direction."""
    lines = []
    for dtype in (torch.bfloat16, torch.float16):
        for steps in (3, 5, 8, 10):
            values = [f"{half_growth(dtype, steps, rule):.3f}" for rule in rules]
            lines.append((f"{str(dtype)[6:]}, {steps} steps", *values))
    title = (
        "polar of low rank and noise in half precision: largest σ over exact arithmetic's, or 1 (bar 1.03)"
    )
    # Muon's own rules are quintics of the polar factor.
    leaks = ", ".join(f"{_label(rule)} {muon_leak(rule):.2f}" for rule in rules if rule != "taylor")
    leak = "Muon's direction of a rank-8 gradient, 256x256 bfloat16, outside its column space (bar 1.0)"
    return f"{format_table(('', *map(_label, rules)), lines, title)}\n\n{leak}: {leaks}"
