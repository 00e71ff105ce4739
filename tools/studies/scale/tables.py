"""Where sharing stops paying, and the model by numbers of processes, as text."""

from collections.abc import Callable

import numpy as np

from ..common.tables import format_table
from .lists import LISTS
from .verdict import Scaling


def _over_mean(values: np.ndarray) -> float:
    return values.max() / values.mean() if values.any() else 0.0


def _number(value: float) -> str:
    """Three digits, as far as a column of six has them."""
    if not value:
        return "-"
    digits = next((d for limit, d in ((99.5, 0), (9.95, 1), (0.995, 2)) if value >= limit), 3)
    return f"{value:.{digits}f}" if value >= 0.0005 else f"{value:.0e}"


_BLOCKS: list[tuple[str, Callable[[Scaling, int], float]]] = [
    ("GB sent per step, by the process that sends most", lambda s, w: s.works[w].sent.max() / 1e9),
    ("... over the mean", lambda s, w: _over_mean(s.works[w].sent)),
    ("TFLOP per step, of the process that computes most", lambda s, w: s.works[w].flops.max() / 1e12),
    ("... over the mean", lambda s, w: _over_mean(s.works[w].flops)),
    ("GB that the largest all-gather brings to each process", lambda s, w: s.works[w].buffer / 1e9),
    ("ms per step", lambda s, w: 1e3 * s.seconds(w)),
]
_HEADER = ("", "alone ms", "best ms", "of", "gain", "stops at", "by", "no gain from", "units", "plan s")


def verdict_table(name: str, scalings: list[Scaling]) -> str:
    """A row for each scheme."""
    shapes = LISTS[name]
    rows = []
    for own in scalings:
        alone, fastest = own.unshared_seconds(own.best), own.seconds(own.best)
        times = _number(1e3 * alone), _number(1e3 * fastest), str(own.best), f"{_number(alone / fastest)}x"
        units = str(own.works[max(own.works)].units)
        ends = str(own.stop or "-"), own.limit, str(own.loss or "-"), units, f"{own.plan_seconds:.2f}"
        rows.append((own.scheme.name, *times, *ends))
    entries = sum(m * n for m, n in shapes)
    title = f"List {name}: {len(shapes)} matrices, {entries:,} entries. Where sharing stops paying"
    return format_table(_HEADER, rows, title)


def model_tables(scalings: list[Scaling], worlds: list[int]) -> list[str]:
    """A table for each quantity; without rows of nothing but 1.00."""
    made = []
    for title, value in _BLOCKS:
        rows = [(own.scheme.name, *(_number(value(own, world)) for world in worlds)) for own in scalings]
        shown = [row for row in rows if not set(row[1:]) <= {"-", "1.00"}]
        made.append(format_table(("processes", *map(str, worlds)), shown, title))
    return made
