"""The benchmark's plot: time against quality."""

from collections.abc import Sequence
from pathlib import Path

from ..common.style import plotted, shared_legend, style
from .measure import Row

# Whose points bear their numbers of steps, and where.
_NUMBERED = {"adaptive": (-6, -11), "peer Polar Express": (5, 4)}


def _curves(rows: Sequence[Row]) -> dict[str, list[Row]]:
    curves: dict[str, list[Row]] = {}
    for row in rows:
        if row.ms is not None:
            curves.setdefault(row.method, []).append(row)
    return curves


def _draw_curve(axes, method: str, points: list[Row], floor: float) -> None:
    """Medians with quartiles; what is better than the floor on it, with its quality beside."""
    times = [row.ms.median for row in points]
    below = [row.ms.median - row.ms.lower for row in points]
    above = [row.ms.upper - row.ms.median for row in points]
    qualities = [max(row.quality, floor) for row in points]
    line = axes.plot(times, qualities, **style(method))[0]
    color = line.get_color()
    axes.errorbar(times, qualities, xerr=(below, above), fmt="none", ecolor=color, alpha=0.6)
    for row in points:
        if row.quality < floor:
            words = {"xytext": (-8, 6), "textcoords": "offset points", "fontsize": 8, "ha": "right"}
            axes.annotate(f"{row.quality:.0e}", (row.ms.median, floor), color=color, **words)
    if len(points) > 1 and method in _NUMBERED:
        words = {"xytext": _NUMBERED[method], "textcoords": "offset points", "fontsize": 8, "color": color}
        for row in points:
            axes.annotate(str(row.steps), (row.ms.median, row.quality), **words)


def _draw(axes, rows: Sequence[Row]) -> None:
    from matplotlib.ticker import LogLocator

    # A decomposition is exact, and far below what the steps of a plot reach.
    floor = min(row.quality for row in rows if row.ms and row.steps is not None) / 3
    for method, points in _curves(rows).items():
        _draw_curve(axes, method, points, floor)
    first = rows[0]
    axes.set(
        title=f"{first.matrix} {first.dtype}, {first.spectrum}",
        xlabel="time, ms",
        ylabel="rms(1-σ) of the result",
        xscale="log",
        yscale="log",
    )
    # A panel may span less than a decade.
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")


def plot_quality(panels: Sequence[Sequence[Row]], subtitle: str, path: Path) -> None:
    """One panel for each problem, one line for each method; the numbers are step counts."""
    title = f"Polar factor: time against quality, by number of steps\n{subtitle}"
    with plotted(path, title, 1, len(panels), (5.6, 5.6)) as (figure, grid):
        for axes, rows in zip(grid[0], panels):
            _draw(axes, rows)
        shared_legend(figure, grid, 2 * len(panels))
