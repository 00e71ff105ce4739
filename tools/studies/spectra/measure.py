"""Errors on the suite: `measure(library_run("prism"), training_steps=0)[5]["Gaussian 2:1"].error`, say."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from prism_compile import polar

from ..common.cans import cans
from ..common.oracles import deviations
from ..common.rules import RULES
from .suite import suite

STEPS = (3, 4, 5, 6, 7, 8)

# The polar factor of a batch `[b, m, n]` by a number of steps.
Run = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Figure:
    """rms(1-σ) and the largest σ of a result."""

    error: float
    largest: float


# Figures by method, number of steps and spectrum.
Results = Mapping[str, Mapping[int, Mapping[str, Figure]]]


def library_run(rule: str, scaling: str | None = None) -> Run:
    """The library's, by a rule."""
    return lambda A, steps: polar(A, steps=steps, rule=rule, scaling=scaling)


def methods() -> dict[str, Run]:
    """The rules, each with its own scaling; Polar Express by the Schatten norm; CANS by two δ."""
    runs = {rule: library_run(rule) for rule in RULES}
    runs["PE Schatten"] = library_run("polar_express", "schatten")
    runs["CANS"] = cans
    runs["CANS 0.01"] = lambda A, steps: cans(A, steps, delta=0.01)
    return runs


@cache
def batches(n: int, seed: int, dtype: torch.dtype, training_steps: int) -> tuple[dict[str, Tensor], ...]:
    """The suite's matrices by name, those of one shape together."""
    by_shape: dict[torch.Size, dict[str, Tensor]] = {}
    for matrices in suite(n, seed, training_steps).values():
        for name, A in matrices.items():
            by_shape.setdefault(A.shape, {})[name] = A.to(dtype)
    return tuple(by_shape.values())


def _figures(results: Tensor) -> list[Figure]:
    finite = results.isfinite().flatten(1).all(1)
    values = torch.linalg.svdvals(results.double().where(finite[:, None, None], 0.0))
    figures = torch.stack([deviations(values), values[:, 0]], dim=1).where(finite[:, None], torch.inf)
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
    training_steps: int = 100,
) -> dict[int, dict[str, Figure]]:
    """Figures of a method by number of steps and spectrum."""
    measured = {}
    for count in steps:
        found: dict[str, list[Figure]] = {}
        for seed in seeds:
            for batch in batches(n, seed, dtype, training_steps):
                results = run(torch.stack(list(batch.values())), count)
                for name, figure in zip(batch, _figures(results)):
                    found.setdefault(name, []).append(figure)
        measured[count] = {name: _merged(figures) for name, figures in found.items()}
    return measured
