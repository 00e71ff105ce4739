"""The optimizers that are compared, each with a stopwatch on its solver.

All train the same matrices; embeddings, norms and the head are AdamW's at a fixed rate in every run.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from unittest.mock import patch

import torch
from torch import Tensor
from torch.optim import Optimizer

from prism_compile.optim import Muon, Shampoo

from ..common.timing import now

FREQUENCY, P, EPS = 10, 4, 1e-4
PEER = "torch.optim.Muon 5"
MUON_RULES, MUON_STEPS = ("jordan", "polar_express", "prism", "adaptive"), (3, 4, 5)


def _alone(result: Tensor) -> list[Tensor]:
    return [result]


@dataclass
class Stopwatch:
    """Seconds spent in a solver, and what it last returned."""

    seconds: float = 0.0
    results: list[Tensor] = field(default_factory=list)

    def around(self, solve: Callable, collect: Callable) -> Callable:
        """`solve`, timed; `collect` makes a list of tensors of its result."""

        def timed(*arguments, **options):
            began = now()
            result = solve(*arguments, **options)
            collected = collect(result)
            self.seconds += now() - began
            self.results += collected
            # A generator is spent once collected.
            return result if isinstance(result, Tensor) else iter(collected)

        return timed


@dataclass(frozen=True)
class Method:
    """An optimizer of the matrices: `build(params, lr)`, the middle of its grid of rates, and its kind."""

    name: str
    build: Callable[[list[Tensor], float], Optimizer]
    rate: float
    kind: str
    solvers: dict[str, Callable] = field(default_factory=dict, compare=False, repr=False)

    def watched(self, optimizer: Optimizer, watch: Stopwatch) -> AbstractContextManager:
        """Time the solver of an optimizer of this method within the context."""
        for kind, holder, name, collect in (
            (Muon, lambda: optimizer, "_polar", list),
            (Shampoo, lambda: optimizer, "_inverse_roots", _alone),
        ):
            if isinstance(optimizer, kind):
                # Later runs take the first one's solver, whose graphs need not be compiled again.
                solve = self.solvers.setdefault(name, getattr(holder(), name))
                return patch.object(holder(), name, watch.around(solve, collect))
        if isinstance(optimizer, torch.optim.Muon):
            solve = torch.optim._muon._zeropower_via_newtonschulz
            return patch("torch.optim._muon._zeropower_via_newtonschulz", watch.around(solve, _alone))
        return nullcontext()


def _muon(rule: str, steps: int, compile: bool) -> Method:
    def build(params: list[Tensor], lr: float) -> Optimizer:
        return Muon(params, lr=lr, weight_decay=0.0, rule=rule, ns_steps=steps, compile=compile)

    return Method(f"Muon {rule} {steps}", build, 0.02, "muon")


def shampoo(solver: str, compile: bool, steps: int | None = None) -> Method:
    """Shampoo with roots by a solver, of so many steps or its default."""

    def build(params: list[Tensor], lr: float) -> Optimizer:
        roots = {"p": P, "eps": EPS, "solver": solver, "steps": steps}
        options = {"precondition_frequency": FREQUENCY, "compile": compile, **roots}
        return Shampoo(params, lr=lr, betas=(0.9, 0.99), **options)

    return Method(f"Shampoo {solver}", build, 2e-3, "shampoo")


def methods(compile: bool) -> list[Method]:
    """The peers first."""
    return [
        Method("AdamW", lambda params, lr: torch.optim.AdamW(params, lr=lr, weight_decay=0.0), 2e-3, "adamw"),
        Method(
            PEER,
            lambda params, lr: torch.optim.Muon(params, lr=lr, weight_decay=0.0),
            0.02,
            "muon",
        ),
        _muon("you", 5, compile),
        *(_muon(rule, steps, compile) for rule in MUON_RULES for steps in MUON_STEPS),
        shampoo("eigh", False),
        shampoo("prism", compile),
    ]
