"""The plot of tools/train: validation loss against step and against time."""

from pathlib import Path
from statistics import mean

from ..common.style import COLORS, plotted, style
from .methods import MUON_RULES, MUON_STEPS, PEER
from .runs import Run

# A rule has its colour everywhere; the line tells the number of steps. Shampoo's "prism" is the default rule.
_LINES = {3: {"linestyle": ":"}, 4: {"linewidth": 2.4}, 5: {"linestyle": "--"}}
_STYLES = {
    "AdamW": {"color": "#8c8c8c", "linestyle": "-."},
    PEER: {"color": style("torch.optim.Muon")["color"], "linewidth": 2.4},
    "Muon you 5": {"color": COLORS["you"], **_LINES[5]},
    "Shampoo eigh": {"color": style("linalg.eigh")["color"], "linewidth": 4.0},
    "Shampoo prism": {"color": COLORS["adaptive"]},
    **{
        f"Muon {rule} {steps}": {"color": COLORS[rule], **_LINES[steps]}
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


def _draw(by_step, by_time, title: str, curves: dict[str, tuple]) -> None:
    """Two panels of the same methods; the first steps, which fall much alike, are left out."""
    for name, (steps, seconds, losses) in curves.items():
        by_step.plot(steps, losses, label=name, **_STYLES[name])
        by_time.plot(seconds, losses, label=name, **_STYLES[name])
    shown = [losses[i] for *_, losses in curves.values() for i in (1, -1)]
    by_step.set(xlabel="step", ylabel="validation loss, nats per character", title=title)
    by_time.set(xlabel="seconds in training", title="the same, against time")
    by_time.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize="small")
    for axes in (by_step, by_time):
        axes.set_ylim(min(shown) - 0.03, max(shown) + 0.03)


def plot_losses(results: dict[str, list[Run]], path: Path) -> None:
    """Write the plot as a PNG, a row for each family of optimizers."""
    curves = {name: _mean_curve(runs) for name, runs in results.items()}
    panels = [(title, belongs) for title, belongs in _PANELS if any(map(belongs, curves))]
    title = "Training a small text model: mean over the seeds"
    with plotted(path, title, len(panels), 2, (6.6, 4.5)) as (_, grid):
        for (name, belongs), pair in zip(panels, grid):
            _draw(*pair, name, {method: curve for method, curve in curves.items() if belongs(method)})
