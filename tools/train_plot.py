"""The plot of tools/train: validation loss against step and against time."""

from pathlib import Path
from statistics import mean

from train_methods import MUON_RULES, MUON_STEPS, PEER
from train_runs import Run

_COLORS = {"jordan": "#56b4e9", "polar_express": "#e69f00", "prism": "#c1272d", "adaptive": "#7b3294"}
_LINES = {3: {"linestyle": ":"}, 4: {"linewidth": 2.4}, 5: {"linestyle": "--"}}
_STYLES = {
    "AdamW": {"color": "#4d4d4d", "linestyle": ":"},
    PEER: {"color": "#0072b2"},
    "Muon you 5": {"color": "#009e73", "linestyle": "--"},
    "Shampoo eigh": {"color": "#56b4e9", "linewidth": 4.0},
    "Shampoo prism": {"color": "#c1272d"},
    **{
        f"Muon {rule} {steps}": {"color": _COLORS[rule], **_LINES[steps]}
        for rule in MUON_RULES
        for steps in MUON_STEPS
    },
}
_PANELS = (
    ("AdamW and Muon", lambda name: "Shampoo" not in name),
    ("AdamW and Shampoo", lambda name: "Muon" not in name),
)


def _mean_curve(runs: list[Run]) -> tuple[list[int], list[float], list[float]]:
    """Steps, seconds and losses, the latter two as means over the seeds."""
    return runs[0].steps, *(
        [mean(values) for values in zip(*(getattr(run, name) for run in runs))]
        for name in ("seconds", "losses")
    )


def plot_losses(results: dict[str, list[Run]], path: Path) -> None:
    """Write the plot as a PNG, a row for each family of optimisers."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    curves = {name: _mean_curve(runs) for name, runs in results.items()}
    panels = [(title, belongs) for title, belongs in _PANELS if any(map(belongs, curves))]
    size = {"figsize": (12, 4.5 * len(panels)), "layout": "constrained", "squeeze": False}
    figure, grid = pyplot.subplots(len(panels), 2, **size)
    for (title, belongs), (by_step, by_time) in zip(panels, grid):
        for name, (steps, seconds, losses) in curves.items():
            if belongs(name):
                style = {"linewidth": 1.6, "label": name, **_STYLES[name]}
                by_step.plot(steps, losses, **style)
                by_time.plot(seconds, losses, **style)
        # The first steps fall by much the same amount; the figure is about the rest.
        shown = [losses[i] for name, (*_, losses) in curves.items() if belongs(name) for i in (1, -1)]
        by_step.set(xlabel="step", ylabel="validation loss, nats per character", title=title)
        by_time.set(xlabel="seconds in training", title="the same, against time")
        by_step.legend(loc="upper right", framealpha=0.95, fontsize="small", ncols=2)
        for axes in (by_step, by_time):
            axes.set_ylim(min(shown) - 0.03, max(shown) + 0.03)
            axes.grid(True, alpha=0.35)
    figure.suptitle("Training a small text model: mean over the seeds", fontsize=14)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
