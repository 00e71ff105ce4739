"""How plots look: one colour a rule everywhere, its marker filled; one file format."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from os.path import relpath
from pathlib import Path

from .progress import note

_ADAPTIVE, _PRISM, _EXPRESS, _TAYLOR = "#c1272d", "#000000", "#0072b2", "#7f7f7f"
_JORDAN, _YOU, _CANS, _TORCH, _EXACT = "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#7b3294"
_HOLLOW = {"markerfacecolor": "none", "linestyle": "--"}

# Of the library's rules.
COLORS = {
    "adaptive": _ADAPTIVE,
    "prism": _PRISM,
    "polar_express": _EXPRESS,
    "taylor": _TAYLOR,
    "jordan": _JORDAN,
    "you": _YOU,
}
_STYLES = {
    "adaptive": {"color": _ADAPTIVE, "marker": "o", "linewidth": 2.2, "zorder": 5},
    "prism": {"color": _PRISM, "marker": "o", "linewidth": 1.8, "zorder": 4},
    "polar_express": {"color": _EXPRESS, "marker": "s"},
    "taylor": {"color": _TAYLOR, "marker": "^", "zorder": 1},
    "jordan": {"color": _JORDAN, "marker": "D"},
    "you": {"color": _YOU, "marker": "v"},
    "PE Schatten": {"color": _EXPRESS, "marker": "s", **_HOLLOW},
    "CANS": {"color": _CANS, "marker": "P"},
    "CANS 0.01": {"color": _CANS, "marker": "P", **_HOLLOW},
    "peer Polar Express": {"color": _EXPRESS, "marker": "s", **_HOLLOW},
    "peer Polar Express, Gram form": {"color": _EXPRESS, "marker": "X", **_HOLLOW},
    "peer Jordan": {"color": _JORDAN, "marker": "D", **_HOLLOW},
    "peer You": {"color": _YOU, "marker": "v", **_HOLLOW},
    "torch.optim.Muon": {"color": _TORCH, "marker": "P"},
    "gram-newton-schulz": {"color": "#8c564b", "marker": "h"},
    "linalg.svd": {"color": _EXACT, "marker": "*", "markersize": 10},
    "linalg.eigh": {"color": _EXACT, "marker": "*", "markersize": 10},
}
_SETTINGS = {
    "figure.constrained_layout.use": True,
    "savefig.dpi": 120,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "legend.frameon": False,
    "figure.titlesize": 13,
}


def style(method: str) -> dict:
    """matplotlib's keywords for the line of a method, its label among them."""
    return {"label": method, **_STYLES.get(method, {"color": "#8c8c8c", "marker": "x"})}


def can_plot() -> bool:
    """Whether matplotlib is installed; a note where it is not."""
    found = importlib.util.find_spec("matplotlib") is not None
    if not found:
        note("no plot: matplotlib is not installed")
    return found


@contextmanager
def plotted(
    path: Path, title: str, rows: int, columns: int, size: tuple[float, float], **options
) -> Iterator:
    """A figure and its axes `[rows, columns]`, written as a PNG in the end; size: of a panel, in inches."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(_SETTINGS):
        inches = (columns * size[0], 0.9 + rows * size[1])
        figure, grid = pyplot.subplots(rows, columns, figsize=inches, squeeze=False, **options)
        figure.suptitle(title)
        yield figure, grid
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
        pyplot.close(figure)
    note(f"wrote {relpath(path)}")


def shared_legend(figure, grid, columns: int) -> None:
    """Below all panels, each label once."""
    handles = {}
    for axes in grid.flat:
        handles.update(zip(*reversed(axes.get_legend_handles_labels())))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)
