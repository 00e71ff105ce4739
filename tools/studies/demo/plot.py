"""The demo's plot: how fast the residual falls, per step and per matrix product."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from ..common.counting import matrix_products
from ..common.style import plotted, style


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
        matrix_products(partial(panel.function, panel.A, steps=count, rule=rule), panel.A.shape)
        for count in range(1, panel.steps + 1)
    ]
    return history.residual.tolist(), products


def plot_convergence(panels: list[Panel], path: Path) -> None:
    """Write the plot as a PNG."""
    title = "Convergence on matrices of a text model in training"
    with plotted(path, title, len(panels), 2, (5.6, 4.0), sharey="row") as (_, grid):
        for panel, (by_step, by_product) in zip(panels, grid):
            for rule in panel.rules:
                residual, products = _curve(panel, rule)
                by_step.plot(range(len(residual)), residual, **style(rule))
                by_product.plot(products, residual, **style(rule))
            by_step.set(yscale="log", xlabel="step", ylabel="rms residual", title=panel.title)
            by_product.set(xlabel="matrix products (flops / 2n³)", title="the same, per matrix product")
            by_step.legend(loc="lower left")
