"""The rules beside the limit, on a few spectra."""

from collections.abc import Iterable

import torch

from ..common.tables import format_table
from .limit import FLOOR, limit
from .measure import groups, measure, methods

# Rows of the table; the first three are those that the ratios are given of.
RATIOS = ("Gaussian 1:1", "log-spaced to 1e-3", "rank n/3, noise 0.03")
ROWS = (
    *RATIOS,
    "log-spaced to 1e-4",
    "Student-t 1.5",
    "Gaussian 4:1",
    "1 × 100 on Gaussian",
    "half at 0.1",
    "power law 1",
)
COLUMNS = ("adaptive", "prism", "polar_express", "PE Schatten")
LIMIT_NOTES = f"""\
limit        least found of any K odd quintics by a search from many starts, the singular values known
< {FLOOR:g}     what is found below it depends on how long the search is
PE Schatten  polar_express with its margin of 1.01 on the Schatten norm instead of the Frobenius norm"""


def limits(steps: int, n: int, seeds: Iterable[int], dtype: torch.dtype) -> dict[str, float]:
    """The limit on each spectrum of the table; over the seeds the root mean square."""
    found: dict[str, list[float]] = {name: [] for name in ROWS}
    for seed in seeds:
        for group in groups("polar", n, seed, dtype, 0):
            for name, A in zip(group.names, group.batch):
                if name in found:
                    found[name].append(limit(torch.linalg.svdvals(A.double()), steps))
    return {name: (sum(x * x for x in each) / len(each)) ** 0.5 for name, each in found.items()}


def _ratio(error: float, least: float) -> str:
    return f"{error / least:.2f}" if least >= FLOOR else f"> {error / FLOOR:.0f}"


def limit_table(steps: int, n: int, seeds: Iterable[int], dtype: torch.dtype) -> str:
    """The limit beside the rules' errors, and the rule "adaptive" over the limit on three spectra."""
    least, runs = limits(steps, n, seeds, dtype), methods()
    settings = {"steps": [steps], "n": n, "seeds": seeds, "dtype": dtype, "training_steps": 0}
    errors = {method: measure(runs[method], **settings)[steps] for method in COLUMNS}
    rows = []
    for name, value in least.items():
        shown = f"{value:#.3g}" if value >= FLOOR else f"< {FLOOR:g}"
        rows.append((name, shown, *(f"{errors[method][name].error:#.3g}" for method in COLUMNS)))
    table = format_table(("spectrum", "limit", *COLUMNS), rows, f"K = {steps} steps")
    ratios = ", ".join(f"{name} {_ratio(errors['adaptive'][name].error, least[name])}" for name in RATIOS)
    return f"{table}\n\nadaptive / limit: {ratios}"
