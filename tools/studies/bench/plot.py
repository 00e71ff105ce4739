"""The benchmark's plot: time against error."""

from pathlib import Path

from ..common.style import plotted, style
from .polar import Sweep

PANELS = 4


def _draw(axes, name: str, rows) -> None:
    from matplotlib.ticker import LogLocator

    # A decomposition is exact, and far below what the steps of a plot reach.
    floor = min(error for timed, error in rows if "steps" in timed.method.options) / 3
    for method in dict.fromkeys(timed.method.name for timed, _ in rows):
        own = [(timed.ms.median, max(error, floor)) for timed, error in rows if timed.method.name == method]
        axes.plot(*zip(*own), **style(method))
    axes.set(title=name, xlabel="time, ms", ylabel="mean rms(1-σ)", xscale="log", yscale="log")
    # A panel may span less than a decade.
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")


def plot_sweep(found: Sweep, path: Path) -> None:
    """A panel for each of the first few matrices, a line for each method over its numbers of steps."""
    shown = list(found.items())[:PANELS]
    title = "Polar factor: time against error, by number of steps; on the lower edge what is exact"
    with plotted(path, title, len(shown), (4.6, 4.6)) as (figure, grid):
        for axes, (name, rows) in zip(grid, shown):
            _draw(axes, name, rows)
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
