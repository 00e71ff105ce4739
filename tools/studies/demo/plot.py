"""The demo's picture."""

import importlib.util
from collections.abc import Sequence
from os.path import relpath
from pathlib import Path

from ..common.results import note

# The curves: a rule, its name and its colour.
_CURVES = {
    "adaptive": ("adaptive (the default)", "#c1272d"),
    "minimax": ("minimax (a table for the steps)", "#d98200"),
    "prism": ("prism (the paper's rule)", "#000000"),
    "polar_express": ("Polar Express", "#0072b2"),
    "taylor": ("classical Newton–Schulz", "#7f7f7f"),
}
_SETTINGS = {
    **{"figure.constrained_layout.use": True, "savefig.dpi": 120, "figure.titlesize": 13},
    **{"axes.grid": True, "grid.alpha": 0.3, "lines.linewidth": 1.5, "lines.markersize": 5},
    "legend.frameon": False,
}


def _mark(axes, steps: int, error: float, color: str, left: bool) -> None:
    """The number of steps beside a point."""
    place = {"xytext": (-9, -13) if left else (9, 2), "ha": "right" if left else "left"}
    words = {"textcoords": "offset points", "color": color, "fontweight": "bold", **place}
    axes.annotate(f"{steps} steps", (steps, error), **words)


def _draw(axes, name: str, errors: dict[str, list[float]], steps: Sequence[int], target: float) -> None:
    for rule, own in errors.items():
        label, color = _CURVES[rule]
        default = rule == "adaptive"
        heavy = {"linewidth": 3.2, "zorder": 5} if default else {}
        axes.plot(steps, own, color=color, marker="o", label=label, **heavy)
        reached = next((place for place, error in enumerate(own) if error <= target), None)
        if reached is not None and rule in ("adaptive", "taylor"):
            _mark(axes, steps[reached], own[reached], color, default)
    least = min(min(own) for own in errors.values())
    axes.axhline(target, color="#555555", linestyle="--", linewidth=1)
    axes.text(steps[-1], target * 1.2, f"{target:.0%} error", ha="right", color="#555555")
    axes.text(steps[-1], least / 1.3, "as far as float32 goes", ha="right", va="top", color="#555555")
    axes.set(yscale="log", xlabel="steps", ylabel="relative error of the result", title=name)
    axes.set(xlim=(steps[0] - 0.6, steps[-1] + 1.2), ylim=(least / 6, 2))
    axes.legend(loc="lower left")


def plot_errors(
    titles: Sequence[str],
    found: Sequence[dict[str, list[float]]],
    steps: Sequence[int],
    targets: Sequence[float],
    path: Path,
) -> None:
    """Error against the number of steps, a panel for each function; the steps to a target are marked."""
    if importlib.util.find_spec("matplotlib") is None:
        note("no plot: matplotlib is not installed")
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(_SETTINGS):
        figure, (grid,) = pyplot.subplots(1, len(titles), figsize=(6.4 * len(titles), 5.9), squeeze=False)
        figure.suptitle("Steps until the result is right: a curve further left is faster")
        for panel in zip(grid, titles, found, [steps] * len(titles), targets):
            _draw(*panel)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
        pyplot.close(figure)
    note(f"wrote {relpath(path)}")
