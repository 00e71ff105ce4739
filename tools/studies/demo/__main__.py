"""Show what the library does, on matrices of a text model in training; the picture is out/demo.png."""

import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

import prism_compile

from ..common import RULES, results
from ..common.matrices import eigh_power, orthogonality_error, relative_error, svd_polar, symmetrised
from ..common.results import note, parser_of, recorded, show_progress
from ..common.text_model import gather
from ..common.timing import compiled, median_ms, quiet_torch
from .plot import plot_errors

_LAYERS = tuple(f"blocks.{i}.mlp.up.weight" for i in (0, 1))
_EPS = 1e-4
_STEPS = tuple(range(1, 13))
# The default, its fixed relatives, and the classical iteration.
_RULES = RULES[:5]


class Task(NamedTuple):
    """A function of a batch, as it is called, the error of a result, and which error is wanted.

    rules: those that serve it.
    """

    title: str
    call: str
    function: Callable[..., Tensor]
    A: Tensor
    error: Callable[[Tensor], float]
    exact: Callable[[Tensor], Tensor]
    target: float
    rules: tuple[str, ...]

    def errors(self) -> dict[str, list[float]]:
        """By rule, after each of the numbers of steps; each is a run of its own."""
        found: dict[str, list[float]] = {}
        for done, rule in enumerate(self.rules, 1):
            found[rule] = [self.error(self.function(self.A, steps=k, rule=rule)) for k in _STEPS]
            show_progress(done, len(self.rules), f"{self.call} by {rule}")
        return found

    def needed(self, errors: list[float]) -> int | None:
        """The first number of steps within the target."""
        return next((steps for steps, error in zip(_STEPS, errors) if error <= self.target), None)

    def timed(self, steps: int, quick: bool) -> str:
        """The compiled call beside the decomposition, on a batch."""
        A = self.A.repeat(16, 1, 1)
        call = partial(self.function, steps=steps) if quick else compiled(self.function, steps=steps)
        times = median_ms({"ours": partial(call, A), "exact": partial(self.exact, A)}, 5)
        by = "SVD" if self.exact is svd_polar else "eigh"
        return f"{times['ours']:.0f} ms in {steps} steps, by {by} {times['exact']:.0f} ms"


def _tasks(training_steps: int) -> list[Task]:
    note(f"1. Training a small text model for {training_steps} steps, for matrices as optimizers meet them")
    gathered = gather(_LAYERS, training_steps)
    momentum = torch.stack(list(gathered.momentum.values()))
    covariance = symmetrised(torch.stack(list(gathered.covariance.values())))
    root = partial(prism_compile.inv_root, p=4, eps=_EPS)
    exact = partial(eigh_power, exponent=-0.25, eps=_EPS)
    of_root = partial(relative_error, exact=exact(covariance.double()))
    muon, shampoo = (
        "Orthogonalise a gradient (Muon's step)",
        "Inverse 4th root of a covariance (Shampoo's step)",
    )
    others = tuple(rule for rule in _RULES if rule != "polar_express")
    return [
        Task(muon, "polar(A)", prism_compile.polar, momentum, orthogonality_error, svd_polar, 0.1, _RULES),
        Task(shampoo, "inv_root(A, 4, eps=1e-4)", root, covariance, of_root, exact, 0.01, others),
    ]


def _summary(tasks: list[Task], found: list[dict[str, list[float]]], timed: list[str]) -> str:
    """What was compared, what was found, what to call."""
    calls, said = [task.call for task in tasks], []
    for task, errors, times in zip(tasks, found, timed):
        own, classical = (task.needed(errors[r]) or f"over {_STEPS[-1]}" for r in ("adaptive", "taylor"))
        name = task.call.partition("(")[0]
        said.append(f"{name} to {task.target:g} takes {own} steps, classically {classical} ({times})")
    return (
        f"Compared  {len(_RULES)} rules for {' and '.join(calls)}, on matrices of a model in training\n"
        f"Found     {'; '.join(said)}\n"
        f"Call      {', '.join(f'prism_compile.{call}' for call in calls)}, or prism_compile.optim.Muon"
    )


def main(words: list[str] | None = None) -> None:
    """Train, compare, draw, time and say what was found."""
    parser = parser_of(__doc__, "3 training steps, nothing compiled")
    quick = parser.parse_args(words).quick
    quiet_torch()
    with recorded("demo", parser, words):
        tasks, found, timed = _tasks(3 if quick else 100), [], []
        # Two threads on matrices this small mostly wait for each other, the more so on a busy machine.
        torch.set_num_threads(1)
        for place, task in enumerate(tasks, 2):
            note(f"\n{place}. {task.title}: every rule with 1 to {_STEPS[-1]} steps against the exact result")
            found.append(task.errors())
        titles, targets = [f"{task.title}\n{task.call}" for task in tasks], [task.target for task in tasks]
        plot_errors(titles, found, _STEPS, targets, results.OUT / "demo.png")
        note("\n4. Compiling both calls and timing them on a batch of 32 (a minute, most of it compiling)")
        for done, (task, errors) in enumerate(zip(tasks, found), 1):
            timed.append(task.timed(task.needed(errors["adaptive"]) or _STEPS[-1], quick))
            show_progress(done, len(tasks), timed[-1])
        print(f"\n{_summary(tasks, found, timed)}")


if __name__ == "__main__":
    sys.exit(main())
