"""Training runs: one of a method at a rate from a seed, and the search for the rate."""

from functools import partial
from statistics import mean, median, stdev
from typing import NamedTuple

import torch
from torch import Tensor

from prism_compile.optim import split_parameters

from ..common.matrices import eigh_power, orthogonality_error, relative_error
from ..common.text_model import Corpus, build_model, sample_batch, text_loss, validation_loss
from ..common.timing import Clock, median_ms
from .methods import EPS, FREQUENCY, Method, P

_REST_RATE = 2e-3
FACTORS = (0.5, 1.0, 2.0, 4.0)


class Run(NamedTuple):
    """The validation loss in the end, the median time of a step, and what the solver was last given."""

    loss: float
    step_ms: float = 0.0
    matrices: tuple[Tensor, ...] = ()


def _solved(method: Method, optimizer: torch.optim.Optimizer) -> tuple[Tensor, ...]:
    """The momentum of Muon, or Shampoo's factors."""
    wanted = {"muon": ("momentum_buffer",), "shampoo": ("left.", "right.")}.get(method.kind, ())
    states = optimizer.state.values()
    return tuple(
        value for state in states for name, value in state.items() if wanted and name.startswith(wanted)
    )


def train(corpus: Corpus, method: Method, rate: float, seed: int, steps: int, width: int) -> Run:
    """Train by a method at a rate that falls linearly to zero. No graphs."""
    model, clock, taken = build_model(corpus, seed, width), Clock(corpus.training.device), []
    split = split_parameters(model)
    main = method.build(split.matrices, rate)
    rest = torch.optim.AdamW(split.rest, lr=_REST_RATE, weight_decay=0.0)

    def one(step: int) -> None:
        for optimizer, base in ((main, rate), (rest, _REST_RATE)):
            for group in optimizer.param_groups:
                group["lr"] = base * (1 - step / steps)
            optimizer.zero_grad()
        text_loss(model, sample_batch(corpus.training, seed=seed * 1_000_000 + step)).backward()
        main.step()
        rest.step()

    for step in range(steps):
        taken.append(clock(partial(one, step)))
    return Run(validation_loss(model, corpus), 1e3 * median(taken), _solved(method, main))


def best_rate(corpus: Corpus, method: Method, rates: list[float], steps: int, width: int) -> float:
    """The rate with the lowest validation loss after a short run from a seed of its own."""
    if len(rates) == 1:
        return rates[0]
    finals = {rate: train(corpus, method, rate, 99, steps, width).loss for rate in rates}
    return min(rates, key=lambda rate: finals[rate] if finals[rate] == finals[rate] else float("inf"))


def solver_figures(
    runs: dict[str, list[Run]], chosen: list[Method], compile: bool
) -> dict[str, tuple[float, float]]:
    """Milliseconds of each method's solver a step, all in turns on one run's matrices, and its error.

    The error: rms(1-σ), or the largest of a root, relative to eigh's in float64.
    """
    found = {}
    for kind, share in (("muon", 1), ("shampoo", FREQUENCY)):
        own = {method.name: method.solver(compile) for method in chosen if method.kind == kind}
        if not own:
            continue
        matrices = runs[next(iter(own))][-1].matrices
        results = {name: solve(matrices) for name, solve in own.items()}
        clock = Clock(matrices[0].device)
        times = median_ms({name: partial(solve, matrices) for name, solve in own.items()}, 15, clock)
        for name, result in results.items():
            exact = (
                [eigh_power(matrix.cpu().double(), -1 / P, EPS) for matrix in matrices] if share > 1 else []
            )
            error = relative_error(result, exact) if exact else orthogonality_error(*result)
            found[name] = times[name] / share, error
    return found


def _difference(runs: list[Run], peers: list[Run]) -> str:
    """The mean difference of the final losses, seed by seed, and its standard error."""
    differences = [run.loss - peer.loss for run, peer in zip(runs, peers)]
    error = stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else float("nan")
    return f"{mean(differences):+.4f} ± {error:.4f}"


def loss_cells(runs: list[Run], peers: list[Run]) -> tuple[str, str, str]:
    """A table's cells of the final losses: mean, spread, and difference to those of a peer's runs."""
    finals = [run.loss for run in runs]
    other = "-" if not peers or runs is peers else _difference(runs, peers)
    return f"{mean(finals):.4f}", f"{max(finals) - min(finals):.4f}", other
