"""Inverse fourth roots in Shampoo: PRISM against eigh by time and error, and the loss by their exactness."""

from collections.abc import Callable
from functools import partial
from statistics import mean, median

import torch
from torch import Tensor

from prism_compile import inv_root, steps_for
from prism_compile.optim._roots import RootOptions, compiled_inverse_roots, inverse_roots, steps_for_factor

from ..common.oracles import eigh_power, relative_error
from ..common.progress import show_progress
from ..common.text_model import Corpus
from ..common.timing import median_ms
from .methods import EPS, FREQUENCY, Method, P, shampoo
from .runs import Run, loss_cells, train

ROOTS_TITLE = f"""\
Shampoo's roots A^(-1/{P}), eps={EPS:g}, of its last factors; PRISM at the default steps, and at those that
take a factor of rank one to 1e-3; error: the largest of a factor, against eigh in float64"""
ROOTS_HEADER = ("factors", "solver", "steps", "ms", "rel. error")
_TOLERANCES = (3e-1, 1e-1, 1e-2, 1e-3)
STUDY_HEADER = (
    "roots",
    "steps",
    "tol at 1/eps",
    "at 1 + n/eps",
    "final loss",
    "spread",
    "to eigh's",
    "solver ms",
    "ratio",
    "residual",
)
STUDY_NOTES = f"""\
tol         whose steps these are by `steps_for`, for factors of condition 1/eps and for the worst, 1 + n/eps,
            of the largest factor's n; p={P}, eps={EPS:g}, roots every {FREQUENCY} steps
final loss  validation, nats per character, mean over the seeds; spread: largest minus smallest
to eigh's   final loss less that with eigh's roots from the same seed, mean and its standard error
solver ms   per step; ratio: to eigh's
residual    rms, of the last run's last factors, the median and the largest"""


def _planned(condition: float) -> dict[float, int]:
    return {tol: steps_for("inv_root", condition=condition, tol=tol, p=P) for tol in _TOLERANCES}


def _residuals(factors: list[Tensor], steps: int) -> str:
    found = [inv_root(A, P, eps=EPS, steps=steps, history=True)[1].residual[-1].item() for A in factors]
    return f"{median(found):.1e}, {max(found):.1e}"


def study(
    corpus: Corpus, rate: float, steps: int, seeds: int, width: int, compile: bool
) -> list[tuple[str, ...]]:
    """A row for eigh and for each number of steps that a tolerance asks for, all trained at one rate."""
    planned = _planned(1 / EPS), _planned(1 + 4 * width / EPS)
    counts = sorted({count for plan in planned for count in plan.values()})
    chosen: dict[int | None, Method] = {None: shampoo("eigh", False)}
    chosen |= {count: shampoo("prism", compile, count) for count in counts}
    runs: dict[int | None, list[Run]] = {count: [] for count in chosen}
    for i in range(seeds * len(chosen)):
        seed, (count, method) = i // len(chosen), list(chosen.items())[i % len(chosen)]
        runs[count].append(train(corpus, method, rate, seed, steps, width, 1))
        show_progress(i + 1, seeds * len(chosen), f"{method.name} {count}: {runs[count][-1].final:.4f}")
    return [_study_row(count, found, runs[None], planned) for count, found in runs.items()]


def _study_row(
    count: int | None, runs: list[Run], peers: list[Run], planned: tuple[dict[float, int], ...]
) -> tuple[str, ...]:
    names = [", ".join(f"{tol:g}" for tol in plan if plan[tol] == count) or "-" for plan in planned]
    solver = mean(run.solver_ms for run in runs)
    return (
        *(("eigh", "-", "-", "-") if count is None else ("prism", str(count), *names)),
        *loss_cells(runs, peers),
        f"{solver:.2f}",
        f"{solver / mean(run.solver_ms for run in peers):.2f}",
        "-" if count is None else _residuals(runs[-1].factors, count),
    )


def _rows(A: Tensor, compile: bool) -> list[tuple[str, ...]]:
    n, ones = A.shape[-1], A.new_ones(len(A), 1, 1)
    default, more = (
        steps_for_factor(P, EPS, A.dtype),
        steps_for("inv_root", condition=1 + n / EPS, tol=1e-3, p=P),
    )
    prism = compiled_inverse_roots({}) if compile else inverse_roots
    runs: list[tuple[str, str, Callable[[Tensor], Tensor]]] = [
        ("eigh", "-", lambda A: inverse_roots(A, ones, RootOptions(P, EPS, 1, "eigh")))
    ]
    for steps in (default, more):
        solve = partial(prism, correction=ones, options=RootOptions(P, EPS, steps, "prism"))
        runs.append(("prism", str(steps), solve))
    oracle = eigh_power(A.double(), -1 / P, EPS)
    errors = [relative_error(run(A), oracle) for _, _, run in runs]
    times = median_ms({i: partial(run, A) for i, (_, _, run) in enumerate(runs)}, 5)
    shape = f"{len(A)} of {n}x{n}"
    return [
        (shape if i == 0 else "", name, steps, f"{times[i]:.1f}", f"{error:.1e}")
        for i, ((name, steps, _), error) in enumerate(zip(runs, errors))
    ]


def root_rows(factors: list[Tensor], compile: bool) -> list[tuple[str, ...]]:
    """A row for each solver on each size of factor."""
    sizes = sorted({factor.shape[0] for factor in factors})
    return [
        row for n in sizes for row in _rows(torch.stack([f for f in factors if f.shape[0] == n]), compile)
    ]
