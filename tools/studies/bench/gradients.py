"""Time, peak memory and difference of a backward pass by each gradient mode."""

from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor

import prism_compile

from ..common.compiling import compiled
from ..common.matrices import definite, gaussian
from ..common.memory import peak_bytes
from ..common.oracles import relative_error
from ..common.progress import note
from ..common.tables import format_table
from .core import Bench

_MODES = ("unrolled", "dual")
_HEADER = ("", "gradient", "ms", "matrices", "difference")
GRADIENT_NOTES = """\
matrices    the most memory held at once beyond A and G, in matrices of A's size
difference  of the gradients, relative Frobenius norm"""


def _backward(call: Callable[[Tensor], Tensor], A: Tensor, G: Tensor) -> Tensor:
    """The gradient of ⟨G, f(A)⟩."""
    leaf = A.clone().requires_grad_()
    return torch.autograd.grad(call(leaf), leaf, G)[0]


def _rows(bench: Bench, name: str, calls: dict[str, Callable], A: Tensor, G: Tensor) -> list[tuple[str, ...]]:
    """A row for each mode, and one of the ratios."""
    runs = {mode: partial(_backward, call, A, G) for mode, call in calls.items()}
    reference = runs["unrolled"]().cpu().double()
    differences = {mode: relative_error(run(), reference) for mode, run in runs.items()}
    times = bench.time(runs)
    peaks = {mode: peak_bytes(run, bench.device.type) for mode, run in runs.items()}
    rows = []
    for mode in _MODES:
        held = f"{peaks[mode] / (A.numel() * A.element_size()):.1f}"
        ms = f"{1e3 * median(times[mode]):.1f}"
        rows.append(("" if rows else name, mode, ms, held, f"{differences[mode]:.1e}"))
    ratio = median(d / u for d, u in zip(times["dual"], times["unrolled"]))
    return [*rows, ("", "dual/unrolled", f"{ratio:.2f}", f"{peaks['dual'] / peaks['unrolled']:.2f}", "")]


def gradients_table(bench: Bench) -> str:
    """inv_sqrtm of a matrix of condition 1e3."""
    note("gradients")
    n, steps = (64, 3) if bench.quick else (1024, 10)
    A, G = (made.to(bench.device) for made in (definite(n, 1e3).float(), gaussian((n, n), seed=1)))
    own = {mode: partial(prism_compile.inv_sqrtm, steps=steps, gradient=mode) for mode in _MODES}
    rows = _rows(bench, "eager", own, A, G)
    if not bench.quick:
        rows += _rows(bench, "compiled", {mode: compiled(call) for mode, call in own.items()}, A, G)
    title = f"inv_sqrtm, {n}x{n}, {steps} steps, float32: forward and backward"
    return format_table(_HEADER, rows, title, left=(0, 1))
