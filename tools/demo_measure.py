"""Measuring one function by several methods on one matrix, and printing the results as a table."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

HEADER = ("matrix", "shape", "condition", "method", "steps", "products", "ms", "rel. error")


@dataclass(frozen=True)
class Problem:
    """A matrix, its condition number and the function's value in float64."""

    name: str
    A: Tensor
    condition: float
    oracle: Tensor


@dataclass(frozen=True)
class Method:
    """One way to compute the function: `run` is timed; the flops of `eager`, if any, are counted."""

    name: str
    run: Callable[[Tensor], Tensor]
    eager: Callable[[Tensor], Tensor] | None = None
    steps: int | None = None


def matrix_products(function: Callable[[Tensor], Tensor], A: Tensor) -> float:
    """Counted flops over 2n³, those of an n·n·n product, where n is the smaller side of A."""
    with FlopCounterMode(display=False) as counter:
        function(A)
    return counter.get_total_flops() / (2 * min(A.shape) ** 3)


def median_times(
    runs: list[Callable[[Tensor], Tensor]],
    A: Tensor,
    repeats: int = 21,
    clock: Callable[[], float] = perf_counter,
) -> list[float]:
    """Median milliseconds of each, taken in turns so that a busy spell of the machine hits all alike."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, taken in zip(runs, times):
            start = clock()
            run(A)
            taken.append(1e3 * (clock() - start))
    return [median(taken) for taken in times]


def relative_error(result: Tensor, oracle: Tensor) -> float:
    """‖result - oracle‖_F / ‖oracle‖_F in float64."""
    return ((result.double() - oracle).norm() / oracle.norm()).item()


def orthogonality_error(*results: Tensor) -> float:
    """rms(1 - σ) over all singular values σ of some results `[..., m, n]`."""
    values = torch.cat([torch.linalg.svdvals(result.cpu().double()).flatten() for result in results])
    return (1 - values).square().mean().sqrt().item()


def measure(
    problem: Problem,
    methods: list[Method],
    extra: Callable[[Tensor], float] | None = None,
) -> list[tuple[str, ...]]:
    """Table rows of the methods; the problem is named in the first only."""
    A = problem.A
    start = perf_counter()
    results = [method.run(A) for method in methods]
    took = perf_counter() - start
    print(
        f"  {problem.name} {_shape(A)}: compiled and ran {len(methods)} methods in {took:.0f} s", flush=True
    )
    times = median_times([method.run for method in methods], A)
    rows = []
    for method, result, time in zip(methods, results, times):
        rows.append(
            (
                *(("", "", "") if rows else (problem.name, _shape(A), f"{problem.condition:.1e}")),
                method.name,
                "-" if method.steps is None else str(method.steps),
                "-" if method.eager is None else f"{matrix_products(method.eager, A):.1f}",
                f"{time:.2f}",
                f"{relative_error(result, problem.oracle):.1e}",
                *(() if extra is None else (f"{extra(result):.1e}",)),
            )
        )
    return rows


def _shape(A: Tensor) -> str:
    return "x".join(map(str, A.shape))


def format_table(
    title: str, header: tuple[str, ...], rows: list[tuple[str, ...]], left: tuple[int, ...] = (0, 1, 3)
) -> str:
    """Aligned plain text: a title, a header and the rows, a blank line before each that names its first cell.

    left: the columns aligned to the left.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows)]

    def line(cells: tuple[str, ...]) -> str:
        words = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths)))
        return "  ".join(words).rstrip()

    lines = [title, "", line(header), "  ".join("-" * w for w in widths)]
    for i, row in enumerate(rows):
        lines += [""] * (i > 0 and row[0] != "") + [line(row)]
    return "\n".join(lines)
