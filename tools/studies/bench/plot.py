"""The benchmark's plot: time against quality."""

from collections.abc import Sequence
from pathlib import Path

from .problems import Row

_STYLES = {
    "adaptive": {"color": "#c1272d", "marker": "o", "linewidth": 2.2, "zorder": 5},
    "prism": {"color": "#000000", "marker": "o", "linewidth": 1.8, "zorder": 4},
    "taylor": {"color": "#4d4d4d", "marker": "^"},
    "polar_express": {"color": "#56b4e9", "marker": "s", "markerfacecolor": "none"},
    "jordan": {"color": "#e69f00", "marker": "D", "markerfacecolor": "none"},
    "you": {"color": "#009e73", "marker": "v", "markerfacecolor": "none"},
    "peer Polar Express": {"color": "#0072b2", "marker": "s"},
    "peer Polar Express, Gram form": {"color": "#0072b2", "marker": "X"},
    "peer Jordan": {"color": "#e69f00", "marker": "D"},
    "peer You": {"color": "#009e73", "marker": "v"},
    "torch.optim.Muon": {"color": "#cc79a7", "marker": "P"},
    "gram-newton-schulz": {"color": "#8c564b", "marker": "h"},
    "linalg.svd": {"color": "#000000", "marker": "*", "markersize": 10},
}


def _curves(rows: Sequence[Row]) -> dict[str, list[Row]]:
    curves: dict[str, list[Row]] = {}
    for row in rows:
        if row.ms is not None:
            curves.setdefault(row.method, []).append(row)
    return curves


def _draw(axes, rows: Sequence[Row]) -> None:
    from matplotlib.ticker import LogLocator

    for method, points in _curves(rows).items():
        style = {"markersize": 6, "linewidth": 1.5, **_STYLES.get(method, {"marker": "x"})}
        times = [row.ms.median for row in points]
        below = [row.ms.median - row.ms.lower for row in points]
        above = [row.ms.upper - row.ms.median for row in points]
        qualities = [row.quality for row in points]
        line = axes.plot(times, qualities, label=method, **style)[0]
        axes.errorbar(times, qualities, xerr=(below, above), fmt="none", ecolor=line.get_color(), alpha=0.6)
        if len(points) > 1 and method in ("adaptive", "peer Polar Express"):
            side = (-6, -11) if method == "adaptive" else (5, 4)
            for row in points:
                at = (row.ms.median, row.quality)
                color = line.get_color()
                axes.annotate(
                    str(row.steps), at, xytext=side, textcoords="offset points", fontsize=8, color=color
                )
    first = rows[0]
    axes.set(
        title=f"{first.matrix} {first.dtype}, {first.spectrum}",
        xlabel="time, ms (log)",
        ylabel="rms(1-σ) of the result (log)",
        xscale="log",
        yscale="log",
    )
    # A panel may span less than a decade.
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.grid(True, which="both", alpha=0.25)


def plot_quality(panels: Sequence[Sequence[Row]], subtitle: str, path: Path) -> None:
    """One panel for each problem, one line for each method; the numbers are step counts."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(
        1, len(panels), figsize=(1.5 + 4.9 * len(panels), 5.6), squeeze=False, layout="constrained"
    )
    labels = {}
    for axes, rows in zip(grid[0], panels):
        _draw(axes, rows)
        handles = zip(*reversed(axes.get_legend_handles_labels()))
        labels.update(handles)
    figure.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=2 * len(panels))
    figure.suptitle(f"Polar factor: time against quality, by number of steps\n{subtitle}", fontsize=12)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
