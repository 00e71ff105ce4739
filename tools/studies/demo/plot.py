"""The demo's picture."""

from collections.abc import Sequence
from pathlib import Path

from ..common.style import COLORS, plotted

_NAMES = {
    "adaptive": "adaptive (the default)",
    "minimax": "minimax (a table for the steps)",
    "prism": "prism (the paper's rule)",
    "polar_express": "Polar Express",
    "taylor": "classical Newton–Schulz",
}


def _mark(axes, steps: int, error: float, color: str, left: bool) -> None:
    """The number of steps beside a point."""
    place = {"xytext": (-9, -13) if left else (9, 2), "ha": "right" if left else "left"}
    words = {"textcoords": "offset points", "color": color, "fontweight": "bold", **place}
    axes.annotate(f"{steps} steps", (steps, error), **words)


def plot_errors(
    titles: Sequence[str],
    found: Sequence[dict[str, list[float]]],
    steps: Sequence[int],
    targets: Sequence[float],
    path: Path,
) -> None:
    """Error against the number of steps, a panel for each function; the steps to a target are marked."""
    title = "Steps until the result is right: a curve further left is faster"
    with plotted(path, title, len(titles), (6.4, 5.0)) as (_, grid):
        for axes, name, errors, target in zip(grid, titles, found, targets):
            for rule, own in errors.items():
                default = rule == "adaptive"
                heavy = {"linewidth": 3.2, "zorder": 5} if default else {}
                axes.plot(steps, own, color=COLORS[rule], marker="o", label=_NAMES[rule], **heavy)
                reached = next((place for place, error in enumerate(own) if error <= target), None)
                if reached is not None and rule in ("adaptive", "taylor"):
                    _mark(axes, steps[reached], own[reached], COLORS[rule], default)
            least = min(min(own) for own in errors.values())
            axes.axhline(target, color="#555555", linestyle="--", linewidth=1)
            axes.text(steps[-1], target * 1.2, f"{target:.0%} error", ha="right", color="#555555")
            axes.text(steps[-1], least / 1.3, "as far as float32 goes", ha="right", va="top", color="#555555")
            axes.set(yscale="log", xlabel="steps", ylabel="relative error of the result", title=name)
            axes.set(xlim=(steps[0] - 0.6, steps[-1] + 1.2), ylim=(least / 6, 2))
            axes.legend(loc="lower left")
