"""Show what the library does, on matrices of a text model in training; the picture is out/demo.png."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

import prism_compile

from ..common import results
from ..common.compiling import compiled, quiet_torch
from ..common.gradient_matrices import train
from ..common.matrices import symmetrised
from ..common.oracles import eigh_power, orthogonality_error, relative_error, svd_polar
from ..common.progress import note, show_progress
from ..common.results import add_option, recorded
from ..common.rules import RULES
from ..common.style import can_plot
from ..common.tables import format_table
from ..common.text_model import load_corpus
from ..common.timing import median_ms
from .plot import plot_errors

_LAYERS = tuple(f"blocks.{i}.mlp.up.weight" for i in (0, 1))
_EPS = 1e-4
_STEPS = tuple(range(1, 13))
# The default, its fixed relatives, and the classical iteration.
_SHOWN = tuple(rule for rule in RULES if rule not in ("jordan", "you"))


@dataclass(frozen=True)
class Task:
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
    rules: tuple[str, ...] = _SHOWN

    def errors(self) -> dict[str, list[float]]:
        """By rule, after each of the numbers of steps; each is a run of its own."""
        found: dict[str, list[float]] = {rule: [] for rule in self.rules}
        for done, rule in enumerate(self.rules, 1):
            for steps in _STEPS:
                found[rule].append(self.error(self.function(self.A, steps=steps, rule=rule)))
            show_progress(done, len(self.rules), f"{self.call} by {rule}")
        return found

    def needed(self, errors: list[float]) -> int | None:
        """The first number of steps within the target."""
        return next((steps for steps, error in zip(_STEPS, errors) if error <= self.target), None)


def _tasks(training_steps: int) -> list[Task]:
    note(f"1. Training a small text model for {training_steps} steps, for matrices as optimizers meet them")
    gathered = train(load_corpus(), _LAYERS, training_steps)
    momentum = torch.stack(list(gathered.momentum.values()))
    covariance = symmetrised(torch.stack(list(gathered.covariance.values())))
    root = partial(prism_compile.inv_root, p=4, eps=_EPS)
    exact = partial(eigh_power, exponent=-0.25, eps=_EPS)
    return [
        Task(
            "Orthogonalise a gradient (Muon's step)",
            "polar(A)",
            prism_compile.polar,
            momentum,
            orthogonality_error,
            svd_polar,
            0.1,
        ),
        Task(
            "Inverse 4th root of a covariance (Shampoo's step)",
            "inv_root(A, 4, eps=1e-4)",
            root,
            covariance,
            partial(relative_error, exact=exact(covariance.double())),
            exact,
            0.01,
            tuple(rule for rule in _SHOWN if rule != "polar_express"),
        ),
    ]


def _table(task: Task, errors: dict[str, list[float]]) -> str:
    shown = (3, 5, 8, 10)
    rows = [
        (rule, *(f"{own[k - 1]:.1e}" for k in shown), str(task.needed(own) or f"> {_STEPS[-1]}"))
        for rule, own in errors.items()
    ]
    header = ("rule", *(f"{k} steps" for k in shown), f"steps to {task.target:g}")
    return format_table(header, rows, f"{task.title}: {task.call}, error after")


def _timed(task: Task, steps: int, quick: bool) -> str:
    """The compiled call beside the decomposition, on a batch."""
    A = task.A.repeat(16, 1, 1)
    call = partial(task.function, steps=steps) if quick else compiled(task.function, steps=steps)
    call(A)
    times = median_ms({"ours": partial(call, A), "exact": partial(task.exact, A)}, 5)
    by = "SVD" if task.exact is svd_polar else "eigh"
    return f"{times['ours']:.0f} ms in {steps} steps, by {by} {times['exact']:.0f} ms"


def _summary(tasks: list[Task], found: list[dict[str, list[float]]], timed: list[str]) -> str:
    """What was compared, what was found, what to call."""
    calls = [task.call for task in tasks]
    said = []
    for task, errors, times in zip(tasks, found, timed):
        own, classical = (
            task.needed(errors[rule]) or f"over {_STEPS[-1]}" for rule in ("adaptive", "taylor")
        )
        name = task.call.partition("(")[0]
        said.append(f"{name} to {task.target:g} takes {own} steps, classically {classical} ({times})")
    return (
        f"Compared  {len(_SHOWN)} rules for {' and '.join(calls)}, on matrices of a model in training\n"
        f"Found     {'; '.join(said)}\n"
        f"Call      {', '.join(f'prism_compile.{call}' for call in calls)}, or prism_compile.optim.Muon"
    )


def main(words: list[str] | None = None) -> None:
    """Train, compare, draw, time and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 training steps, nothing compiled")
    parser.add_argument("--steps", type=int, default=100, help="training steps (default: %(default)s)")
    add_option(parser)
    arguments = parser.parse_args(words)
    quiet_torch()
    with recorded("demo", parser, words):
        tasks, found, timed = _tasks(3 if arguments.quick else arguments.steps), [], []
        # Two threads on matrices this small mostly wait for each other, the more so on a busy machine.
        torch.set_num_threads(1)
        for place, task in enumerate(tasks, 2):
            note(f"\n{place}. {task.title}: every rule with 1 to {_STEPS[-1]} steps against the exact result")
            found.append(task.errors())
            print(f"\n{_table(task, found[-1])}", flush=True)
        if can_plot():
            titles = [f"{task.title}\n{task.call}" for task in tasks]
            plot_errors(titles, found, _STEPS, [task.target for task in tasks], results.OUT / "demo.png")
        note(
            "\n4. Compiling both calls and timing them on a batch of 32 (a minute, the most of it compiling)"
        )
        for done, (task, errors) in enumerate(zip(tasks, found), 1):
            timed.append(_timed(task, task.needed(errors["adaptive"]) or _STEPS[-1], arguments.quick))
            show_progress(done, len(tasks), timed[-1])
        print(f"\n{_summary(tasks, found, timed)}")


if __name__ == "__main__":
    sys.exit(main())
