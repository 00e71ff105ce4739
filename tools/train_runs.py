"""Training runs: one of a method at a rate from a seed, and the search for the rate."""

from dataclasses import dataclass, field
from statistics import median

import torch
from studies.common.oracles import orthogonality_error
from studies.common.text_model import Corpus, build_model, sample_batch, text_loss, validation_loss
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
    solver, times their share, and that of the rest of each step.
    """
    model = build_model(corpus, seed, width)
    split = split_parameters(model)
    matrices = [param for _, param in split.matrices]
    rest = torch.optim.AdamW([param for _, param in split.rest], lr=_REST_RATE, weight_decay=0.0)
    main = method.build(matrices, rate)
    run, watch, total = Run(), Stopwatch(), 0.0
    solving, other = [], []
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
            main.step()
            rest.step()
            took = clock() - began
            total += took
            solving.append(watch.seconds - solved)
            other.append(took - solving[-1])
            if step + 1 in marks:
                run.steps.append(step + 1)
                run.seconds.append(total)
                run.losses.append(validation_loss(model, corpus))
    calls = [seconds for seconds in solving if seconds] or [0.0]
    run.solver_ms = 1e3 * median(calls) * len(calls) / steps
    run.step_ms = 1e3 * median(other) + run.solver_ms
    if method.kind == "muon":
        run.quality = orthogonality_error(*watch.results)
    if method.kind == "shampoo":
        run.factors = [factor for w in matrices for factor in main.state[w]["factors"]]
    return run


def best_rate(corpus: Corpus, method: Method, steps: int, width: int) -> float:
    """The rate of the grid with the lowest validation loss after a short run from a seed of its own."""
    rates = [method.rate * factor for factor in FACTORS]
    finals = {rate: train(corpus, method, rate, 99, steps, width, 1).final for rate in rates}
    return min(rates, key=lambda rate: finals[rate] if finals[rate] == finals[rate] else float("inf"))
