"""Inverse fourth roots of the factors of a Shampoo run: PRISM against eigh, time and error."""

from collections.abc import Callable
from functools import partial

import torch
from studies.common.oracles import relative_error
from studies.common.timing import median_ms
from torch import Tensor

from prism_compile.optim._shampoo.roots import compiled_inverse_roots, inverse_roots, steps_for_factor

_P, _EPS = 4, 1e-4
ROOTS_TITLE = f"""\
Shampoo's roots A^(-1/{_P}), eps={_EPS:g}, of its last factors; PRISM at the default steps, for a factor
of rank one, and at those for the condition 1/eps; error against float64"""
ROOTS_HEADER = ("factors", "solver", "steps", "ms", "rel. error")


def _rows(A: Tensor, compile: bool) -> list[tuple[str, ...]]:
    n, ones = A.shape[-1], A.new_ones(len(A), 1, 1)
    full, fewer = steps_for_factor(n, _P, _EPS, A.dtype), steps_for_factor(1, _P, _EPS, A.dtype)
    prism = compiled_inverse_roots({}) if compile else inverse_roots
    runs: list[tuple[str, str, Callable[[Tensor], Tensor]]] = [
        ("eigh", "-", lambda A: inverse_roots(A, ones, _P, _EPS, 1, "eigh"))
    ]
    for steps in (full, fewer):
        solve = partial(prism, correction=ones, p=_P, eps=_EPS, steps=steps, solver="prism")
        runs.append(("prism", str(steps), solve))
    oracle = inverse_roots(A.double(), ones.double(), _P, _EPS, 1, "eigh")
    errors = [relative_error(run(A), oracle) for _, _, run in runs]
    times = median_ms({i: partial(run, A) for i, (_, _, run) in enumerate(runs)}, 5).values()
    shape = f"{len(A)} of {n}x{n}"
    return [
        (shape if i == 0 else "", name, steps, f"{time:.1f}", f"{error:.1e}")
        for i, ((name, steps, _), time, error) in enumerate(zip(runs, times, errors))
    ]


def root_rows(factors: list[Tensor], compile: bool) -> list[tuple[str, ...]]:
    """A row for each solver on each size of factor."""
    sizes = sorted({factor.shape[0] for factor in factors})
    return [
        row for n in sizes for row in _rows(torch.stack([f for f in factors if f.shape[0] == n]), compile)
    ]
