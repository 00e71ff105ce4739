"""Measuring the methods of a problem: quality, time, and time over that of the products alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ..common.compiling import compiled
from ..common.counting import matrix_products
from ..common.timing import Budget, Clock, Spread, ratio, time_in_turns
from .floor import Product, product_floor, recorded_products
from .problems import Method, Problem


@dataclass(frozen=True)
class Row:
    """One method on one problem; times in milliseconds, `over_products` the ratio to the floor."""

    function: str
    matrix: str
    dtype: str
    spectrum: str
    method: str
    steps: int | None
    products: float | None = None
    quality: float | None = None
    ms: Spread | None = None
    over_products: Spread | None = None
    note: str = ""


def _kept(result: object) -> object:
    """Copies that a further run of a CUDA graph cannot overwrite."""
    return result.clone() if isinstance(result, Tensor) else tuple(part.clone() for part in result)


@dataclass
class _Candidate:
    """A method in one compile mode, checked: `run` is None where it is not to be had."""

    method: Method
    label: str
    run: Callable[[], object] | None = None
    quality: float | None = None
    count: float | None = None
    products: tuple[Product, ...] | None = None

    def row(self, problem: Problem, times: dict) -> Row:
        """What was measured; `times` by the place of a candidate, and by products."""
        named = (problem.function, problem.name, str(problem.A.dtype).split(".")[1], problem.spectrum)
        row = Row(*named, self.label, self.method.steps, self.count, self.quality, note=self.method.note)
        if self.run is None:
            return row
        over = ratio(times, id(self), self.products) if self.products else None
        return replace(row, ms=Spread.of([1e3 * t for t in times[id(self)]]), over_products=over)


def _candidate(problem: Problem, method: Method, mode: str) -> _Candidate:
    """Compile and check a method."""
    found = _Candidate(method, method.name if mode == "default" else f"{method.name} [{mode}]")
    if method.function is None:
        return found
    A = problem.A
    call = compiled(method.function, mode, **method.options) if method.compile else method.eager
    found.quality = problem.quality(_kept(call(A)))
    found.run = partial(call, A)
    if method.counted:
        eager = partial(method.eager, A)
        found.count, found.products = matrix_products(eager, A.shape), recorded_products(eager, A)
    return found


def compare(problem: Problem, modes: tuple[str, ...], clock: Clock, budget: Budget) -> list[Row]:
    """Compile, check and time the methods of a problem and, once for each list of products, the products."""
    candidates = [
        _candidate(problem, method, mode)
        for method in problem.methods
        for mode in (modes if method.compile else ("default",))
    ]
    runs: dict[object, Callable[[], object]] = {}
    for candidate in candidates:
        if candidate.run is not None:
            runs[id(candidate)] = candidate.run
        if candidate.products:
            runs.setdefault(candidate.products, product_floor(candidate.products, problem.A))
    times = time_in_turns(runs, clock, budget)
    # The next problem's graphs are not to be held beside this one's.
    torch._dynamo.reset()
    return [candidate.row(problem, times) for candidate in candidates]
