"""How plots look: one colour a rule everywhere, peers dashed; one file format."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from os.path import relpath
from pathlib import Path

from .progress import note

# Of the library's rules.
COLORS = {
    **{"adaptive": "#c1272d", "minimax": "#d98200", "prism": "#000000", "polar_express": "#0072b2"},
    **{"taylor": "#7f7f7f", "jordan": "#8c564b", "you": "#009e73"},
}
_PEERS = {
    "peer Polar Express": {"color": COLORS["polar_express"], "marker": "s", "linestyle": "--"},
    "peer Polar Express, Gram form": {"color": COLORS["polar_express"], "marker": "X", "linestyle": "--"},
    "torch.optim.Muon": {"color": "#56b4e9", "marker": "P"},
    "linalg.svd": {"color": "#7b3294", "marker": "*", "markersize": 10},
    "linalg.eigh": {"color": "#7b3294", "marker": "*", "markersize": 10},
}
_SETTINGS = {
    **{"figure.constrained_layout.use": True, "savefig.dpi": 120, "figure.titlesize": 13},
    **{"axes.grid": True, "grid.alpha": 0.3, "lines.linewidth": 1.5, "lines.markersize": 5},
    "legend.frameon": False,
}


def style(method: str) -> dict:
    """matplotlib's keywords for the line of a method, its label among them."""
    own = {"color": COLORS.get(method, "#8c8c8c"), "marker": "o" if method in COLORS else "x"}
    return {"label": method, **_PEERS.get(method, own)}


def can_plot() -> bool:
    """Whether matplotlib is installed; a note where it is not."""
    found = importlib.util.find_spec("matplotlib") is not None
    if not found:
        note("no plot: matplotlib is not installed")
    return found


@contextmanager
def plotted(path: Path, title: str, columns: int, size: tuple[float, float]) -> Iterator:
    """A figure and its row of axes, written as a PNG in the end; size: of a panel, in inches."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(_SETTINGS):
        figure, grid = pyplot.subplots(1, columns, figsize=(columns * size[0], 0.9 + size[1]), squeeze=False)
        figure.suptitle(title)
        yield figure, grid[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
        pyplot.close(figure)
    note(f"wrote {relpath(path)}")
