"""The optimizers that are compared, and the solver of each by itself.

All train the same matrices; embeddings, norms and the head are AdamW's at a fixed rate in every run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.optim import Optimizer

from prism_compile import inv_root
from prism_compile.optim import Muon, Orthogonaliser, Shampoo

from ..common import RULES
from ..common.matrices import eigh_power
from ..common.peers import torch_muon
from ..common.timing import compiled

FREQUENCY, P, EPS = 10, 4, 1e-4
PEERS = {"muon": "torch.optim.Muon 5", "shampoo": "Shampoo eigh"}
MUON_RULES = tuple(rule for rule in RULES if rule not in ("taylor", "you"))
MUON_STEPS, SHAMPOO_STEPS = (3, 4, 5), (3, 4, 5, 6, 7)

# Solves the matrices that an optimizer would, all at once.
Solve = Callable[[list[Tensor]], list[Tensor]]


@dataclass(frozen=True)
class Method:
    """An optimizer of the matrices, and the middle of its grid of rates.

    build: from named parameters, or groups of them, and the rate. solver: makes its solver, as a graph where
    asked; None where it has none. kind: "muon", "shampoo" or, of others' own solvers, "other".
    """

    name: str
    build: Callable[[list, float], Optimizer]
    rate: float
    kind: str
    solver: Callable[[bool], Solve] | None = None


def _torch_solver(compile: bool) -> Solve:
    return lambda matrices: [torch_muon(matrix.bfloat16()) for matrix in matrices]


def _muon(rule: str, steps: int) -> Method:
    def build(params: list, lr: float) -> Optimizer:
        return Muon(params, lr=lr, weight_decay=0.0, rule=rule, ns_steps=steps, compile=False)

    def solver(compile: bool) -> Solve:
        return Orthogonaliser(steps=steps, rule=rule, dtype=torch.bfloat16, compile=compile)

    return Method(f"Muon {rule} {steps}", build, 0.02, "muon", solver)


def _by_size(root: Callable[[Tensor], Tensor], factors: list[Tensor]) -> list[Tensor]:
    """The roots of factors of each size in one batch, as Shampoo takes them."""
    places: dict[int, list[int]] = {}
    for place, factor in enumerate(factors):
        places.setdefault(len(factor), []).append(place)
    found = list(factors)
    for same in places.values():
        for place, result in zip(same, root(torch.stack([factors[i] for i in same]))):
            found[place] = result
    return found


def _shampoo(steps: int | None) -> Method:
    """With roots of so many steps, or by eigh."""
    own = {"solver": "eigh"} if steps is None else {"steps": steps}

    def build(params: list, lr: float) -> Optimizer:
        options = {"precondition_frequency": FREQUENCY, "p": P, "eps": EPS, "compile": False, **own}
        return Shampoo(params, lr=lr, betas=(0.9, 0.99), **options)

    def solver(compile: bool) -> Solve:
        root = partial(eigh_power, exponent=-1 / P, eps=EPS)
        if steps is not None:
            options = {"p": P, "eps": EPS, "steps": steps}
            root = compiled(inv_root, **options) if compile else partial(inv_root, **options)
        return partial(_by_size, root)

    return Method(f"Shampoo {steps or 'eigh'}", build, 2e-3, "shampoo", solver)


def _pytorch_optimizer() -> list[Method]:
    """SOAP and Shampoo of the package of that name, where it is installed, as often as ours takes roots."""
    if find_spec("pytorch_optimizer") is None:
        return []
    theirs = import_module("pytorch_optimizer")
    soap = partial(theirs.SOAP, weight_decay=0.0, precondition_frequency=FREQUENCY)
    # Its grafting by the norm of RMSProp's step is the nearest to ours, by Adam's.
    shampoo = partial(
        theirs.ScalableShampoo,
        betas=(0.9, 0.99),
        preconditioning_compute_steps=FREQUENCY,
        start_preconditioning_step=FREQUENCY,
        graft_type=import_module("pytorch_optimizer.optimizer.utils.graft").LayerWiseGrafting.RMSPROP,
    )
    return [
        Method("pytorch_optimizer SOAP", lambda params, lr: soap(params, lr=lr), 3e-3, "other"),
        Method("pytorch_optimizer ScalableShampoo", lambda params, lr: shampoo(params, lr=lr), 2e-3, "other"),
    ]


def methods() -> list[Method]:
    """AdamW, what is installed of others, then each kind with its peer first."""
    adamw = partial(torch.optim.AdamW, weight_decay=0.0)
    muon = partial(torch.optim.Muon, weight_decay=0.0)
    return [
        Method("AdamW", lambda params, lr: adamw(params, lr=lr), 2e-3, "other"),
        *_pytorch_optimizer(),
        Method(PEERS["muon"], lambda params, lr: muon(params, lr=lr), 0.02, "muon", _torch_solver),
        *(_muon(rule, steps) for rule in MUON_RULES for steps in MUON_STEPS),
        *(_shampoo(steps) for steps in (None, *SHAMPOO_STEPS)),
    ]
