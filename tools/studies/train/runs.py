"""Training runs: one of a method at a rate from a seed, and the search for the rate."""

from dataclasses import dataclass, field
from statistics import mean, median, stdev

import torch
from torch import Tensor

from prism_compile.optim import split_parameters
from prism_compile.optim._preconditioner import factors_of

from ..common.oracles import orthogonality_error
from ..common.text_model import Corpus, build_model, sample_batch, text_loss, validation_loss
from ..common.timing import now
from .methods import Method, Stopwatch

_REST_RATE = 2e-3
FACTORS = (0.5, 1.0, 2.0, 4.0)


@dataclass
class Run:
    """What a run has shown: validation losses at some steps and at the seconds in training by then.

    The times per step are medians, against busy spells of the machine: that of the steps that call the
    solver, times their share, and that of the rest of each step, and of the matrices' optimizer's.
    """

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

    def validate(self, model: torch.nn.Module, corpus: Corpus, step: int, seconds: float) -> None:
        """Add a point of the curve."""
        self.steps.append(step)
        self.seconds.append(seconds)
        self.losses.append(validation_loss(model, corpus))


@dataclass
class _Times:
    """Seconds of each step in the solver, in the rest of the matrices' optimizer, in all but the solver."""

    solving: list[float] = field(default_factory=list)
    updating: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)

    @property
    def total(self) -> float:
        return sum(self.solving) + sum(self.other)

    def add(self, solving: float, updating: float, took: float) -> None:
        self.solving.append(solving)
        self.updating.append(updating - solving)
        self.other.append(took - solving)

    def summarise(self, run: Run) -> None:
        calls = [seconds for seconds in self.solving if seconds] or [0.0]
        run.solver_ms = 1e3 * median(calls) * len(calls) / len(self.solving)
        run.optimizer_ms = 1e3 * median(self.updating) + run.solver_ms
        run.step_ms = 1e3 * median(self.other) + run.solver_ms


class _Trainer:
    """A model and its two optimizers: the method's for the matrices, AdamW for the rest."""

    def __init__(self, corpus: Corpus, method: Method, rate: float, seed: int, width: int):
        self.model = build_model(corpus, seed, width)
        split = split_parameters(self.model)
        self.matrices = [param for group in split.matrices for _, param in group["params"]]
        rest = torch.optim.AdamW(split.rest, lr=_REST_RATE, weight_decay=0.0)
        self.main, self.rest, self.rate = method.build(self.matrices, rate), rest, rate
        self.times = _Times()

    def step(self, batch: tuple[Tensor, Tensor], decay: float, watch: Stopwatch) -> None:
        """One step, timed; decay: of both rates."""
        began, solved = now(), watch.seconds
        for optimizer, base in ((self.main, self.rate), (self.rest, _REST_RATE)):
            optimizer.param_groups[0]["lr"] = base * decay
            optimizer.zero_grad()
        text_loss(self.model, batch).backward()
        watch.results.clear()
        stepping = now()
        self.main.step()
        stepped = now()
        self.rest.step()
        self.times.add(watch.seconds - solved, stepped - stepping, now() - began)


def train(corpus: Corpus, method: Method, rate: float, seed: int, steps: int, width: int, points: int) -> Run:
    """Train by a method at a rate that falls linearly to zero; validate at `points` steps."""
    trainer, run, watch = _Trainer(corpus, method, rate, seed, width), Run(), Stopwatch()
    marks = {round(steps * (i + 1) / points) for i in range(points)}
    run.validate(trainer.model, corpus, 0, 0.0)
    with method.watched(trainer.main, watch):
        for step in range(steps):
            batch = sample_batch(corpus.training, seed=seed * 1_000_000 + step)
            trainer.step(batch, 1 - step / steps, watch)
            if step + 1 in marks:
                run.validate(trainer.model, corpus, step + 1, trainer.times.total)
    trainer.times.summarise(run)
    if method.kind == "muon":
        run.quality = orthogonality_error(*watch.results)
    if method.kind == "shampoo":
        run.factors = [factor for w in trainer.matrices for factor, _ in factors_of(trainer.main.state[w])]
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
