"""Measuring one function by several methods on one matrix: rows of a table."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from torch import Tensor

from ..common.counting import matrix_products
from ..common.oracles import relative_error
from ..common.progress import note
from ..common.tables import shape_of
from ..common.timing import median_ms

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

    def cells(self, A: Tensor) -> tuple[str, ...]:
        """Name, steps and products."""
        steps = "-" if self.steps is None else str(self.steps)
        if self.eager is None:
            return self.name, steps, "-"
        return self.name, steps, f"{matrix_products(partial(self.eager, A), A.shape):.1f}"


def measure(
    problem: Problem,
    methods: list[Method],
    rounds: int,
    extra: Callable[[Tensor], float] | None = None,
) -> list[tuple[str, ...]]:
    """Table rows of the methods; the problem is named in the first only. rounds: how often each is timed."""
    A, start = problem.A, perf_counter()
    shape = shape_of(A.shape)
    results = [method.run(A) for method in methods]
    note(f"  {problem.name} {shape}: compiled {len(methods)} methods in {perf_counter() - start:.0f} s")
    times = median_ms({i: partial(method.run, A) for i, method in enumerate(methods)}, rounds)
    return [
        (
            *(("", "", "") if i else (problem.name, shape, f"{problem.condition:.1e}")),
            *method.cells(A),
            f"{times[i]:.2f}",
            f"{relative_error(result, problem.oracle):.1e}",
            *(() if extra is None else (f"{extra(result):.1e}",)),
        )
        for i, (method, result) in enumerate(zip(methods, results))
    ]
