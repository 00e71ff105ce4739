"""Errors on the suite: `rule_errors` of one rule, `measure` of any method.

For example `rule_errors("prism", seeds=(0, 1), training_steps=0)[5]["log-spaced to 1e-3"]`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

import prism_compile
from prism_compile._rules import RULES

from ..common.cans import cans
from ..common.matrices import with_eigenvalues
from ..common.oracles import deviations, eigh_power, eigh_sign, relative_errors
from .suite import suite

STEPS = (3, 4, 5, 6, 7, 8)
FUNCTIONS = ("polar", "signm", "sqrtm", "inv_sqrtm")
# Damping of the roots, relative to the mean eigenvalue: the squares of long spectra leave float32.
DAMPING = 1e-6
_EXPONENTS = {"sqrtm": 0.5, "inv_sqrtm": -0.5}

# From a batch `[b, m, n]`, a number of steps and a seed of the sketch.
Run = Callable[[Tensor, int, int], Tensor]


@dataclass(frozen=True)
class Figure:
    """polar: rms(1-σ) and the largest σ of the result; other functions: relative error and spectral norm."""

    error: float
    largest: float


@dataclass(frozen=True)
class Group:
    """Matrices of one shape as one batch, and what the function should give (None for the polar factor)."""

    names: tuple[str, ...]
    batch: Tensor
    oracle: Tensor | None


def rule_names() -> list[str]:
    """The rules that serve quintic steps of order 2."""
    return [
        name
        for name, rule in RULES.items()
        if (rule.orders is None or 2 in rule.orders) and 2 in rule.degrees
    ]


def _call(function: str, options: dict, A: Tensor, steps: int, seed: int) -> Tensor:
    return getattr(prism_compile, function)(A, steps=steps, seed=seed, **options)


def library_run(function: str, rule: str, scaling: str | None = None) -> Run:
    """A function of the library by a rule."""
    options = {"rule": rule, "scaling": scaling}
    if function in _EXPONENTS:
        options["eps"] = DAMPING
    return partial(_call, function, options)


def methods(function: str = "polar") -> dict[str, Run]:
    """The rules, each with its own scaling; Polar Express by the Schatten norm; for polar, CANS by two δ."""
    runs = {rule: library_run(function, rule) for rule in rule_names()}
    runs["PE Schatten"] = library_run(function, "polar_express", "schatten")
    if function == "polar":
        runs["CANS"] = lambda A, steps, seed: cans(A, steps)
        runs["CANS 0.01"] = lambda A, steps, seed: cans(A, steps, delta=0.01)
    return runs


def _symmetric(function: str, A: Tensor, seed: int) -> Tensor:
    """Q f(σ) Qᵀ for the singular values σ of A: ±σ for the sign, σ² for the roots."""
    values = torch.linalg.svdvals(A.double())
    signs = torch.ones_like(values)
    signs[1::2] = -1
    # Rounding to single precision is elementwise and keeps the symmetry; that of the product does not.
    return with_eigenvalues((values * signs if function == "signm" else values.square()).numpy(), seed)


def _oracle(function: str, A: Tensor) -> Tensor:
    """The function of the rounded and damped matrices by float64 eigenvalues."""
    A = A.double()
    return eigh_sign(A) if function == "signm" else eigh_power(A, _EXPONENTS[function], DAMPING)


@cache
def groups(function: str, n: int, seed: int, dtype: torch.dtype, training_steps: int) -> tuple[Group, ...]:
    """The suite's matrices as the function takes them, batched by shape."""
    by_shape: dict[torch.Size, dict[str, Tensor]] = {}
    for matrices in suite(n, seed, training_steps).values():
        for name, A in matrices.items():
            A = A if function == "polar" else _symmetric(function, A, seed)
            by_shape.setdefault(A.shape, {})[name] = A.to(dtype)
    made = []
    for matrices in by_shape.values():
        batch = torch.stack(list(matrices.values()))
        oracle = None if function == "polar" else _oracle(function, batch)
        made.append(Group(tuple(matrices), batch, oracle))
    return tuple(made)


def _figures(results: Tensor, oracle: Tensor | None) -> list[Figure]:
    finite = results.isfinite().flatten(1).all(1)
    results = results.double().where(finite[:, None, None], 0.0)
    values = torch.linalg.svdvals(results)
    errors = deviations(values) if oracle is None else relative_errors(results, oracle)
    figures = torch.stack([errors, values[:, 0]], dim=1).where(finite[:, None], torch.inf)
    return [Figure(*pair) for pair in figures.tolist()]


def _merged(figures: list[Figure]) -> Figure:
    """Over the seeds: the root mean square error and the largest value."""
    mean_square = sum(figure.error**2 for figure in figures) / len(figures)
    return Figure(mean_square**0.5, max(figure.largest for figure in figures))


def measure(
    run: Run,
    *,
    steps: Iterable[int] = STEPS,
    n: int = 128,
    seeds: Iterable[int] = (0,),
    dtype: torch.dtype = torch.float32,
    function: str = "polar",
    training_steps: int = 100,
) -> dict[int, dict[str, Figure]]:
    """Figures of a method by number of steps and spectrum."""
    measured = {}
    for count in steps:
        found: dict[str, list[Figure]] = {}
        for seed in seeds:
            for group in groups(function, n, seed, dtype, training_steps):
                for name, figure in zip(group.names, _figures(run(group.batch, count, seed), group.oracle)):
                    found.setdefault(name, []).append(figure)
        measured[count] = {name: _merged(figures) for name, figures in found.items()}
    return measured


def rule_errors(rule: str, *, scaling: str | None = None, **settings) -> dict[int, dict[str, float]]:
    """Errors of one of the library's rules by number of steps and spectrum; settings: those of `measure`."""
    run = library_run(settings.get("function", "polar"), rule, scaling)
    return {
        count: {name: figure.error for name, figure in figures.items()}
        for count, figures in measure(run, **settings).items()
    }
