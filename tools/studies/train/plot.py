"""The plot of tools/train: validation loss against step."""

from pathlib import Path
from statistics import mean

from ..common.style import COLORS, plotted, style
from .runs import Run

# A rule has its colour everywhere; the line tells the number of steps.
_LINES = {
    **{"3": {"linestyle": ":"}, "4": {"linewidth": 2.4}, "5": {"linestyle": "--"}},
    **{"6": {"linestyle": "-."}, "7": {"linewidth": 1.0}},
}


def line_style(name: str) -> dict:
    """Of a method by its name."""
    kind, *words = name.split()
    rule, last = "".join(words[:-1]), "".join(words[-1:])
    if last == "eigh":
        return {**style("linalg.eigh"), "label": name, "marker": None, "linewidth": 4.0}
    if rule or kind == "Shampoo":
        return {"label": name, "color": COLORS[rule or "adaptive"], **_LINES.get(last, {})}
    return {**style(kind), "label": name, "marker": None}


def plot_losses(found: dict[str, list[Run]], path: Path) -> None:
    """Write it as a PNG, a panel for Muon and one for Shampoo, the mean over the seeds."""
    kinds = [kind for kind in ("Muon", "Shampoo") if any(kind in name for name in found)] or ["AdamW"]
    with plotted(path, "Training a small text model", len(kinds), (7.5, 5.0)) as (_, grid):
        for axes, kind in zip(grid, kinds):
            shown = []
            for name, runs in found.items():
                if kind in name or name == "AdamW":
                    losses = [mean(each) for each in zip(*(run.losses for run in runs))]
                    axes.plot(runs[0].steps, losses, **line_style(name))
                    # The first steps fall much alike.
                    shown += [losses[1], losses[-1]]
            axes.set(xlabel="step", ylabel="validation loss, nats per character", title=kind)
            axes.set_ylim(min(shown) - 0.03, max(shown) + 0.03)
            axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize="small")
