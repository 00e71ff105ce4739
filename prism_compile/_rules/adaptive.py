"""The rule "adaptive": the default, which looks at the spectrum where a look gains.

It is the table of "minimax", and from `EXACT_FROM` steps on nothing else. The last step of a shorter run, of
three and four steps the last two, is chosen by what the residuals r are: their moments to degree four are
exact, and cost one pass over two matrices in memory,

    ⟨r⟩ = tr R/n,  ⟨r²⟩ = ⟨R, R⟩/n,  ⟨r³⟩ = ⟨R, R²⟩/n,  ⟨r⁴⟩ = ⟨R², R²⟩/n.

What is chosen is the aim L of `minimax.py`. With f the result under an aim and c a factor on it, the loss is

    ⟨(1 - c f)²⟩ = ⟨h²⟩ - 2 (c - 1) ⟨h f⟩ + (c - 1)² ⟨f²⟩,   h = 1 - f.

h² and h f are known functions of r. The quartics next to them, in the mean square of the prior as the steps
before have left it, turn the moments into estimates of the means: one product with a constant matrix. A
parabola through the least loss and its neighbours chooses between aims, so that losses that differ by
rounding give steps that differ by as little.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.nn.functional import embedding

from .._iteration.basis import Basis, Coefficients
from .._iteration.linear_algebra import real_entries
from .._iteration.precision import accumulation_dtype, is_half
from .._iteration.rule import StepInfo
from .._torch import kept_tensor, small_tensor
from .minimax import MinimaxRule, Run, image, in_x, is_exact, largest_deviation, prior, results, short

# Runs of fewer steps than this choose two of them. With one the mean error of `tools/spectra` is 2 % larger
# at three steps; from five steps on a second choice gains 1 %, and costs a kernel.
_TWO_BELOW = 5
_DEGREE = 4


def _begin(run: Run, left: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The last steps of all tables `[left, E, 3]`, in powers of x; what the prior is by then."""
    tables, best, _ = short(run)
    wide = torch.float32 if device.type == "mps" else torch.float64
    x, w = prior(run, partial(torch.linspace, dtype=wide, device=device))
    for done in range(run.steps - 1, left - 1, -1):
        x = image(tables[done, best].tolist(), x, run.p)
    return small_tensor(tables[:left], wide, device), x, w


@kept_tensor
def _fits(
    steps: int, p: int, dtype: torch.dtype, squared: bool, left: int, out: torch.dtype, device: torch.device
) -> Tensor:
    """The quartics in r next to h² and h f of each aim: coefficients `[5, 2, E]`."""
    rows, x, w = _begin(Run(steps, p, dtype, squared), left, device)
    f, r = results(rows, x, left, p), 1 - x
    # Σ_k P_k ⟨P_k ·⟩/⟨P_k²⟩ for the orthogonal polynomials P_k of the prior, by their three-term recurrence.
    # What the moments say of a P_k counts by the share that is not rounding.
    noise = torch.finfo(dtype).eps
    P, before, first = torch.ones_like(r), torch.zeros_like(r), torch.arange(_DEGREE + 1, device=device) == 0
    c = first.to(r.dtype)
    c_before, size_before, readout = torch.zeros_like(c), w.sum(), torch.zeros_like(c[:, None] * r)
    for _ in range(_DEGREE + 1):
        size = (w * P * P).sum()
        readout = readout + c[:, None] * (w * P) / (size + (noise * c.abs().sum()) ** 2)
        a, b = (w * r * P * P).sum() / size, size / size_before
        P, before, size_before = (r - a) * P - b * before, P, size
        c, c_before = torch.where(first, 0, c.roll(1)) - a * c - b * c_before, c
    return torch.stack((readout @ ((1 - f) ** 2).T, readout @ ((1 - f) * f).T), dim=1).to(out)


@kept_tensor
def _choices(
    steps: int, p: int, dtype: torch.dtype, squared: bool, left: int, out: torch.dtype, device: torch.device
) -> Tensor:
    """The step of each aim, in powers of R: `[E, 3]`."""
    row = short(Run(steps, p, dtype, squared))[0][left - 1]
    return small_tensor(numpy.stack(in_x(row.T), axis=-1), out, device)


def moments(basis: Basis, dtype: torch.dtype) -> Tensor:
    """1, ⟨r⟩, …, ⟨r⁴⟩: `[b, 5]`."""
    identity, R, squared = (real_entries(part).to(dtype) for part in basis if part is not None)
    pairs = ((identity, R), (R, R), (R, squared), (squared, squared))
    means = [(A * B).sum(dim=(-2, -1)) / max(R.shape[-2], 1) for A, B in pairs]
    return torch.stack([torch.ones_like(means[0]), *means], dim=-1)


def choose(t: Tensor, fits: Tensor, choices: Tensor, most: float) -> tuple[Tensor, Tensor]:
    """The coefficients `[b, 3]` of the step for moments t `[b, 5]`, and c - 1 `[b, 1]`."""
    # A sum of five, written out by Inductor: the losses and their minimum are one kernel. No part of a
    # constant is taken, for Dynamo would make symbols of its sizes under dynamic shapes.
    square, product = (t[:, :, None, None] * fits).sum(1).unbind(1)
    excess = (product / (1 - 2 * product - square)).clamp(0.0, most)
    loss = square - excess * (2 * product - excess * (1 - 2 * product - square))
    below, middle, above = loss[:, :-2], loss[:, 1:-1], loss[:, 2:]
    place = middle.argmin(-1, keepdim=True)
    bend = (below - 2 * middle + above).clamp(min=torch.finfo(loss.dtype).tiny)
    shift = ((below - above) / (2 * bend)).gather(-1, place).clamp(-0.5, 0.5)
    place = place + 1
    # A NaN, which may not leave the table, goes on in the weight.
    beside, weight = torch.where(shift > 0, place + 1, place - 1), shift.abs()
    step = torch.lerp(embedding(place, choices)[:, 0], embedding(beside, choices)[:, 0], weight)
    return step, torch.lerp(excess.gather(-1, place), excess.gather(-1, beside), weight)


@dataclass(frozen=True)
class AdaptiveRule(MinimaxRule):
    """A table whose last steps are chosen for the spectrum."""

    def looks(self, info: StepInfo) -> bool:
        # In half precision noise that has risen is taken for values, and a look gains 2 %.
        if info.interval is not None or is_exact(info) or is_half(info.dtype):
            return False
        return info.steps - info.step <= (2 if info.steps < _TWO_BELOW else 1)

    def free_count(self, info: StepInfo) -> int:
        return 3 if self.looks(info) else 0

    def coefficients(self, info: StepInfo, basis: Basis, prepared: Any) -> Coefficients:
        if not self.looks(info):
            return self.complete(info)
        R, out, left = basis.residual, accumulation_dtype(info.dtype), info.steps - info.step
        run = (info.steps, info.p, info.dtype, info.squared, left, out, R.device)
        fits, choices = _fits(R, *run), _choices(R, *run)
        g, excess = choose(moments(basis, out), fits, choices, largest_deviation(info.steps))
        if left == 1:
            g = g + excess * g
        return Coefficients(*g[:, None].split(1, -1))

    def complete(self, info: StepInfo, *free: Tensor) -> Coefficients:
        return Coefficients(*free) if free else super().complete(info)


ADAPTIVE = AdaptiveRule("adaptive", "this library, `_rules/adaptive.py`")
