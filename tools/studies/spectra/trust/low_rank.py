"""The polar factor of low rank, on A's own row space, and what Muon's direction has outside it."""

import numpy
import torch
from torch import Tensor

import prism_compile

from ...common.matrices import gaussian, log_spaced, with_singular_values
from ...common.results import format_table
from .cases import FUNCTIONS, case_of

_STEPS = (5, 8, 10, 14, 20, 40)
_RANKS = ((64, 64, 1), (64, 64, 8), (120, 120, 10), (64, 64, 32), (96, 64, 20), (64, 64, 60))


def _matrix(m: int, n: int, rank: int, condition: float) -> Tensor:
    """`[m, n]`, float64, with rank singular values from 1 down to 1/condition and else zeros."""
    left, right = (with_singular_values(numpy.ones(size), seed)[:, :rank] for seed, size in enumerate((m, n)))
    return left * torch.from_numpy(log_spaced(rank, condition)) @ right.mT


def _error(dtype: torch.dtype, steps: int, rule: str | None) -> float:
    """The worst over ranks, sizes, and a true part that is flat or falls to 1/30."""
    worst = 0.0
    for m, n, rank in _RANKS:
        for condition in (1.0, 30.0):
            A = _matrix(m, n, rank, condition).to(dtype)
            result = prism_compile.polar(A, steps=steps, rule=rule, form="direct")
            worst = max(worst, case_of(FUNCTIONS["polar"], A, rank).error(result))
    return worst


def _muon_leak(rule: str | None, n: int = 256, rank: int = 8) -> float:
    """‖(I - P) U‖_F of Muon's direction U of a rank-8 bfloat16 gradient, P onto its column space; ideal 0."""
    weight = torch.nn.Parameter(torch.zeros(n, n, dtype=torch.bfloat16))
    weight.grad = (gaussian((n, rank)) @ gaussian((rank, n), seed=1)).to(weight.dtype)
    options = {} if rule is None else {"rule": rule}
    prism_compile.optim.Muon([weight], lr=1.0, weight_decay=0.0, compile=False, **options).step()
    columns, U = torch.linalg.svd(weight.grad.double())[0][:, :rank], weight.detach().double()
    return (U - columns @ (columns.T @ U)).norm().item()


def low_rank_table(rules: tuple[str | None, ...]) -> str:
    """By precision, rule and number of steps."""
    rows = []
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for i, rule in enumerate(rules):
            errors = (f"{_error(dtype, count, rule):.1e}" for count in _STEPS)
            rows.append(("" if i else str(dtype)[6:], rule or "default", *errors))
    header = ("precision", "rule", *(f"K = {count}" for count in _STEPS))
    title = "polar of low rank, direct form, the worst error on A's own row space (bars: 5 steps .15;"
    title += " float32 1e-5 from 8, float64 1e-12 from 10, bfloat16 1.5e-2 from 8)"
    # Muon's own rules are quintics of the polar factor.
    leaks = ", ".join(f"{rule or 'default'} {_muon_leak(rule):.2f}" for rule in rules if rule != "taylor")
    leak = "Muon's direction of a rank-8 gradient, 256x256 bfloat16, outside its column space (bar 1.0)"
    return f"{format_table(header, rows, title, left=(0, 1))}\n\n{leak}: {leaks}"
