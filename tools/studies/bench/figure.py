"""A figure: a ratio of two things measured within one run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import torch
from torch import Tensor

from ..common.compiling import compiled
from ..common.timing import Budget, Clock, ratio, time_in_turns
from .floor import product_floor, recorded_products


@dataclass(frozen=True)
class Figure:
    """One line of the table, and what it was made of."""

    what: str
    measured: str
    values: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """Where and how long to measure."""

    device: torch.device
    clock: Clock
    budget: Budget
    mode: str

    def time(self, runs: dict[str, Callable]) -> dict[object, list[float]]:
        """The runs in turns."""
        return time_in_turns(runs, self.clock, self.budget)

    def compile(self, function: Callable, **options) -> Callable[[Tensor], object]:
        """In the first of the modes asked for."""
        return compiled(function, self.mode, **options)


def _ms(times: list[float]) -> float:
    return 1e3 * median(times)


def floor_of(function: Callable, A: Tensor, **options) -> Callable[[], None]:
    return product_floor(recorded_products(partial(function, A, **options), A), A)


def compared(what: str, times: dict, numerator: str, denominator: str, **values) -> Figure:
    """The ratio of two runs with its quartiles, and both medians."""
    spread = ratio(times, numerator, denominator)
    both = f"{_ms(times[numerator]):.2f} ms against {_ms(times[denominator]):.2f}"
    return Figure(what, f"{spread:.2f}  {both}", {"ratio": spread, **values})
