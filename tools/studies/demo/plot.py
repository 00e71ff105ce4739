"""The demo's plot: how fast the residual falls, per step and per matrix product."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from .measure import matrix_products

_STYLES = {
    "adaptive": {"color": "#c1272d", "marker": "o", "linewidth": 2.2, "zorder": 5},
    "prism": {"color": "#000000", "marker": "o", "linewidth": 1.8, "zorder": 4},
    "polar_express": {"color": "#0072b2", "marker": "s"},
    "taylor": {"color": "#4d4d4d", "marker": "^"},
    "jordan": {"color": "#e69f00", "marker": "D"},
}


@dataclass(frozen=True)
class Panel:
    """One row of the plot: a function on a matrix by several rules."""

    title: str
    function: Callable[..., Tensor]
    A: Tensor
    rules: tuple[str, ...]
    steps: int


def _curve(panel: Panel, rule: str) -> tuple[list[float], list[float]]:
    """The rms residual after 0, 1, … steps, and the products that a run of so many steps takes."""
    history = panel.function(panel.A, steps=panel.steps, rule=rule, history=True)[1]
    products = [0.0] + [
        matrix_products(partial(panel.function, steps=count, rule=rule), panel.A)
        for count in range(1, panel.steps + 1)
    ]
    return history.residual.tolist(), products


def plot_convergence(panels: list[Panel], path: Path) -> None:
    """Write the plot as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(
        len(panels), 2, figsize=(11, 4.2 * len(panels)), sharey="row", squeeze=False, layout="constrained"
    )
    for panel, (by_step, by_product) in zip(panels, grid):
        for rule in panel.rules:
            residual, products = _curve(panel, rule)
            style = {"markersize": 4.5, "linewidth": 1.6, "label": rule, **_STYLES[rule]}
            by_step.plot(range(len(residual)), residual, **style)
            by_product.plot(products, residual, **style)
        by_step.set(
            xlabel="step", ylabel="rms residual", title=f"{panel.title}, one run of {panel.steps} steps"
        )
        by_product.set(xlabel="matrix products (flops / 2n³)", title="the same, per matrix product")
        by_step.legend()
        for axes in (by_step, by_product):
            axes.set_yscale("log")
            axes.grid(True, which="major", alpha=0.35)
    figure.suptitle("Convergence on matrices of a text model in training", fontsize=14)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
