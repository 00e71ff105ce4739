"""The default rule against the best of the others, on every function, precision and spectrum."""

from typing import NamedTuple

import torch

from ...common.results import format_table, show_progress
from .cases import FUNCTIONS, cases

STEPS = (8, 10, 14, 20)
DTYPES = (torch.float64, torch.float32)
# A result is held to so many times the best rival's error, and so many roundings of A more.
FACTOR, ROUNDINGS = 3.0, 20


class Result(NamedTuple):
    """The errors of the tried rule and of the best rival, and what rounding may add."""

    function: str
    dtype: str
    spectrum: str
    steps: int
    error: float
    best: float
    rival: str
    allowance: float

    @property
    def judged(self) -> bool:
        """Whether the precision can hold the result at all."""
        return self.allowance < 1

    @property
    def above(self) -> bool:
        # An error of 1 is that of no result: what is beyond tells nothing more.
        return self.judged and self.error > FACTOR * self.best + self.allowance and self.best < 1

    @property
    def ratio(self) -> float:
        return self.error / (FACTOR * self.best + self.allowance)

    def line(self) -> str:
        return (
            f"  {self.function:<10} {self.dtype} K={self.steps:<2} {self.spectrum:<20} {self.error:.1e}"
            f"  {self.rival} {self.best:.1e}  rounding {self.allowance:.0e}"
        )


def _errors(name: str, n: int, dtype: torch.dtype, steps: int, rule: str | None) -> dict[str, float]:
    found = cases(name, n, dtype)
    batch = torch.stack([case.A for case in found.values()])
    results = FUNCTIONS[name].call(batch, steps=steps, rule=rule)
    return {each: case.error(result) for (each, case), result in zip(found.items(), results)}


def compare(name: str, n: int, dtype: torch.dtype, steps: int, rule: str | None) -> list[Result]:
    """A function with a number of steps on all spectra."""
    errors = _errors(name, n, dtype, steps, rule)
    rivals = {rival: _errors(name, n, dtype, steps, rival) for rival in FUNCTIONS[name].rivals()}
    made = []
    for each, case in cases(name, n, dtype).items():
        best = min(rivals, key=lambda rival: rivals[rival][each])
        allowance = ROUNDINGS * torch.finfo(dtype).eps * case.condition
        precision = str(dtype).removeprefix("torch.")
        made.append(Result(name, precision, each, steps, errors[each], rivals[best][each], best, allowance))
    return made


def _row(results: list[Result], steps: tuple[int, ...]) -> tuple[str, ...]:
    cells = []
    for count in steps:
        judged = [r for r in results if r.steps == count and r.judged]
        worst = max((r.ratio for r in judged if r.best < 1), default=0.0)
        cells.append(f"{sum(r.above for r in judged)} of {len(judged)} ({worst:.2g})")
    return tuple(cells)


def compare_table(n: int, rule: str | None, steps: tuple[int, ...] = STEPS) -> str:
    """Rows above the bar by function and precision, and each of them."""
    results: dict[tuple[str, str], list[Result]] = {}
    runs = [(name, dtype, count) for name in FUNCTIONS for dtype in DTYPES for count in steps]
    for done, (name, dtype, count) in enumerate(runs, 1):
        made = compare(name, n, dtype, count, rule)
        results.setdefault((name, made[0].dtype), []).extend(made)
        show_progress(done, len(runs), f"{name}, {dtype}, {count} steps")
    header = ("function", "precision", *(f"K = {count}" for count in steps))
    rows = [(*key, *_row(each, steps)) for key, each in results.items()]
    flat = [r for each in results.values() for r in each]
    title = (
        f"Error over {FACTOR:g} times the best rival's and {ROUNDINGS} roundings: cases above 1 (the worst)"
    )
    lines = [format_table(header, [*rows, ("all", "", *_row(flat, steps))], title, left=(0, 1), total=True)]
    listed = [r.line() for r in flat if r.above]
    lines += [f"\n{len(listed)} above:", *listed]
    beyond = sum(not r.judged for r in flat)
    return "\n".join([*lines, f"\n{beyond} of {len(flat)} are beyond their precision and not judged."])
