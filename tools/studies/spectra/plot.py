"""The plot of tools/spectra: error against matrix products, a small panel for each of some spectra."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..common.counting import matrix_products
from ..common.style import plotted, shared_legend, style
from .measure import Figure, Run

# Figures by method, number of steps and spectrum.
Results = Mapping[str, Mapping[int, Mapping[str, Figure]]]

PANELS = (
    *("flat", "Gaussian 1:1", "Gaussian 1.1:1", "Gaussian 2:1"),
    *("log-spaced to 1e-2", "log-spaced to 1e-3", "log-spaced to 1e-4", "log-spaced to 1e-6"),
    *("power law 0.6", "power law 1", "power law 2", "stretched exponential"),
    *("Student-t 2", "lognormal rows, columns", "9/10 at 0.013", "five levels"),
    *("5 × 17-90 on flat", "1 × 100 on Gaussian", "rank n/16, noise 0.003", "rank n/3, noise 0.03"),
    *("product of 2 Gaussians", "outer products, large batch", "attention.out 1", "mlp.up 0"),
)
_COLUMNS = 4
# Lesser errors, which bfloat16 does not reach, are drawn on the lower edge.
_FLOOR = 1e-3


class _Products:
    """Matrix products of a method's run, which depend on the shape alone."""

    def __init__(self, runs: Mapping[str, Run], dtype: torch.dtype):
        self.runs, self.dtype = runs, dtype
        self.known: dict[tuple, float] = {}

    def of(self, method: str, steps: int, shape: torch.Size) -> float:
        key = method, steps, shape
        if key not in self.known:
            run = partial(self.runs[method], steps=steps, seed=0)
            A = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(self.dtype)
            self.known[key] = matrix_products(partial(run, A[None]), shape)
        return self.known[key]


def _draw(axes, results: Results, name: str, shape: torch.Size, products: _Products) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator

    for method, by_steps in results.items():
        count = [products.of(method, steps, shape) for steps in by_steps]
        errors = [max(figures[name].error, _FLOOR) for figures in by_steps.values()]
        axes.plot(count, errors, **{"markersize": 4, **style(method)})
    errors = [figures[name].error for by_steps in results.values() for figures in by_steps.values()]
    axes.set_yscale("log")
    # A panel may span less than a decade; a diverging method must not squeeze the others.
    axes.set_ylim(max(min(errors) / 1.1, _FLOOR), min(max(errors) * 1.1, 2.0))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if min(errors) > 0.02 else (1,)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_title(name, fontsize=10)
    axes.tick_params(labelsize=8)


def plot_errors(
    results: Results,
    matrices: Mapping[str, Tensor],
    runs: Mapping[str, Run],
    dtype: torch.dtype,
    title: str,
    label: str,
    path: Path,
) -> None:
    """Write the plot as a PNG; `matrices` are those by name that the function was given."""
    names = [name for name in PANELS if name in matrices]
    products = _Products(runs, dtype)
    with plotted(path, title, -(-len(names) // _COLUMNS), _COLUMNS, (3.5, 2.35)) as (figure, grid):
        for axes, name in zip(grid.flat, names):
            _draw(axes, results, name, matrices[name].shape, products)
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
        shared_legend(figure, grid, len(results))
        for axes in grid[-1]:
            axes.set_xlabel("matrix products (flops / 2n³)", fontsize=9)
        for axes in grid[:, 0]:
            axes.set_ylabel(label, fontsize=9)
