"""Time, peak memory and difference of a backward pass by each gradient mode."""

from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor

from ..common.memory import peak_bytes
from ..common.oracles import relative_error
from ..common.timing import Budget, Clock, time_in_turns

MODES = ("unrolled", "dual")
HEADER = ("", "gradient", "ms", "matrices", "difference")


def backward(call: Callable[[Tensor], Tensor], A: Tensor, G: Tensor) -> Tensor:
    """The gradient of ⟨G, f(A)⟩."""
    leaf = A.clone().requires_grad_()
    return torch.autograd.grad(call(leaf), leaf, G)[0]


def compare(name: str, calls: dict[str, Callable], A: Tensor, G: Tensor, rounds: int) -> list[tuple]:
    """A row for each mode, and one of the ratios."""
    runs = {mode: partial(backward, call, A, G) for mode, call in calls.items()}
    reference = runs["unrolled"]().double()
    differences = {mode: relative_error(run(), reference) for mode, run in runs.items()}
    times = time_in_turns(runs, Clock(), Budget.of_rounds(rounds))
    peaks = {mode: peak_bytes(run) for mode, run in runs.items()}
    size = A.numel() * A.element_size()
    rows = [
        (
            "" if i else name,
            mode,
            f"{1e3 * median(times[mode]):.0f}",
            f"{peaks[mode] / size:.1f}",
            f"{differences[mode]:.1e}",
        )
        for i, mode in enumerate(calls)
    ]
    ratio = median(d / u for d, u in zip(times["dual"], times["unrolled"]))
    rows.append(("", "dual/unrolled", f"{ratio:.2f}", f"{peaks['dual'] / peaks['unrolled']:.2f}", ""))
    return rows
