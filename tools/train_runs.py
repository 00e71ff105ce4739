"""Training runs: one of a method at a rate from a seed, and the search for the rate."""

from dataclasses import dataclass, field
from statistics import mean, median, stdev

import torch
from demo_measure import orthogonality_error
from text_model import Corpus, build_model, sample_batch, text_loss, validation_loss
from torch import Tensor
from train_methods import Method, Stopwatch, clock

from prism_compile.optim import split_parameters

_REST_RATE = 2e-3
FACTORS = (0.5, 1.0, 2.0, 4.0)


@dataclass
class Run:
    """What a run has shown: validation losses at some steps and at the seconds in training by then."""

    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    step_ms: float = 0.0
    optimizer_ms: float = 0.0
    solver_ms: float = 0.0
    quality: float | None = None
    factors: list[Tensor] = field(default_factory=list)

    @property
    def final(self) -> float:
        """The last validation loss."""
        return self.losses[-1]


def train(corpus: Corpus, method: Method, rate: float, seed: int, steps: int, width: int, points: int) -> Run:
    """Train by a method at a rate that falls linearly to zero; validate at `points` steps.

    The times per step are medians, against busy spells of the machine: that of the steps that call the
    solver, times their share, and that of the rest of each step, and of the matrices' optimiser's.
    """
    model = build_model(corpus, seed, width)
    split = split_parameters(model)
    matrices = [param for _, param in split.matrices]
    rest = torch.optim.AdamW([param for _, param in split.rest], lr=_REST_RATE, weight_decay=0.0)
    main = method.build(matrices, rate)
    run, watch, total = Run(), Stopwatch(), 0.0
    solving, updating, other = [], [], []
    marks = {round(steps * (i + 1) / points) for i in range(points)}
    run.steps, run.seconds, run.losses = [0], [0.0], [validation_loss(model, corpus)]
    with method.watched(main, watch):
        for step in range(steps):
            batch = sample_batch(corpus.training, seed=seed * 1_000_000 + step)
            began = clock()
            for optimizer, base in ((main, rate), (rest, _REST_RATE)):
                optimizer.param_groups[0]["lr"] = base * (1 - step / steps)
                optimizer.zero_grad()
            text_loss(model, batch).backward()
            watch.results.clear()
            solved = watch.seconds
            stepping = clock()
            main.step()
            stepped = clock()
            rest.step()
            took = clock() - began
            total += took
            solving.append(watch.seconds - solved)
            updating.append(stepped - stepping - solving[-1])
            other.append(took - solving[-1])
            if step + 1 in marks:
                run.steps.append(step + 1)
                run.seconds.append(total)
                run.losses.append(validation_loss(model, corpus))
    calls = [seconds for seconds in solving if seconds] or [0.0]
    run.solver_ms = 1e3 * median(calls) * len(calls) / steps
    run.optimizer_ms = 1e3 * median(updating) + run.solver_ms
    run.step_ms = 1e3 * median(other) + run.solver_ms
    if method.kind == "muon":
        run.quality = orthogonality_error(*watch.results)
    if method.kind == "shampoo":
        run.factors = [factor for w in matrices for factor in main.state[w]["factors"]]
    return run


def best_rate(corpus: Corpus, method: Method, rates: list[float], steps: int, width: int) -> float:
    """The rate with the lowest validation loss after a short run from a seed of its own."""
    if len(rates) == 1:
        return rates[0]
    finals = {rate: train(corpus, method, rate, 99, steps, width, 1).final for rate in rates}
    return min(rates, key=lambda rate: finals[rate] if finals[rate] == finals[rate] else float("inf"))


def _difference(runs: list[Run], peers: list[Run]) -> str:
    """The mean difference of the final losses, seed by seed, and its standard error."""
    differences = [run.final - peer.final for run, peer in zip(runs, peers)]
    error = stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else float("nan")
    return f"{mean(differences):+.4f} ± {error:.4f}"


def loss_cells(runs: list[Run], peers: list[Run]) -> tuple[str, str, str]:
    """A table's cells of the final losses: mean, spread, and difference to those of a peer's runs."""
    finals = [run.final for run in runs]
    other = "-" if not peers or runs is peers else _difference(runs, peers)
    return f"{mean(finals):.4f}", f"{max(finals) - min(finals):.4f}", other
