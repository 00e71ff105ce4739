"""The quintics that the rule "adaptive" chooses from, for every order p.

A step maps x in (0, 1] to C y(x), y = x g(x)ᵖ of largest value one, C the largest x that it leaves. Of
quadratics g,

    g(x) ∝ p s t - (s + t) x p/(p + 1) + x² p/(2p + 1),      s = ρ t ≤ t,

are those for which x^(1/p) g is stationary at s and t. ρ > 1/(2p + 1) leaves g no zero, so that nothing
changes its sign; a small ρ raises small x the most and lets others dip; ρ = t = 1 is the classical step. The
grid lies about the t for which the peaks at x = s and x = 1 are equal. Two candidates beside it keep 1 fixed
whatever else the spectrum holds: the classical step, and the settling one, g = 1 + x(1 - x)/p, which lets
nothing small grow. All is in terms of x, not of x^(1/p): the same numbers serve every order.
"""

from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from ..._iteration.constants import in_memory, traced_constant

RATIOS = 32
OFFSETS = 13
COUNT = RATIOS * OFFSETS
CLASSICAL, SETTLING = COUNT, COUNT + 1
# How the grid spreads ρ, and t about equal peaks; half or twice as many points change the error tables of
# tools/spectra by about 2 %.
_BEND = 0.36
_SPREAD = (0.02, 0.19)
_NEWTON_STEPS = 60
_FIT = 4


class Quintics(NamedTuple):
    """Candidates `[N]` each: y = x (q0 + q1 x + q2 x²)ᵖ; ρ; the lowest y right of s. The last two keep 1
    fixed."""

    q0: Tensor
    q1: Tensor
    q2: Tensor
    ratio: Tensor
    dip: Tensor

    def image(self, x: Tensor, p: int) -> Tensor:
        """y of `x [P, 1]`, or of one for each, `[P, N]`."""
        return x * power(self.q0 + x * (self.q1 + x * self.q2), p)


def power(x: Tensor, p: int) -> Tensor:
    """xᵖ by repeated squaring."""
    while not p & 1:
        x, p = x * x, p >> 1
    result = x
    while p := p >> 1:
        x = x * x
        if p & 1:
            result = result * x
    return result


def lowest_ratio(p: int) -> float:
    """The ρ at which g gains a zero."""
    return 1 / (2 * p + 1)


@traced_constant
def balanced_fit(p: int) -> tuple[float, ...]:
    """Coefficients of a polynomial in ρ, (1/t - 1)/(1 - ρ) for the t for which the peaks at x = s and x = 1
    are equal.

    With t = 1 the height of the peak at ρ is met again at some x ≥ 1, and t = 1/x. x = (3 - ρ)/2 is exact for
    p = 1 and for ρ → 1; Newton's method finds the others. For p ≤ 8 the quartic leaves at most 2e-3 of x,
    which only moves a candidate.
    """
    degree = _FIT
    chebyshev = numpy.cos(numpy.pi * (numpy.arange(3 * degree) + 0.5) / (3 * degree))
    least = lowest_ratio(p)
    # Where ρ is one value and slope vanish: there is nothing to find near it.
    ratio = least + (0.98 - least) * (chebyshev + 1) / 2
    peak = p * p / (p + 1) * ratio ** (1 + 1 / p) * (1 - ratio / (2 * p + 1))
    x = (3 - ratio) / 2
    for _ in range(_NEWTON_STEPS):
        root = x ** (1 / p)
        value = root * (p * ratio - x * ((1 + ratio) * (p / (p + 1)) - x * (p / (2 * p + 1)))) - peak
        x = x - value / (root / x * (x - ratio) * (x - 1))
    return tuple(map(float, numpy.polyfit(ratio, (x - 1) / (1 - ratio), degree)))


def balanced(ratio: Tensor, p: int) -> Tensor:
    """The t for which the peaks at x = s and x = 1 are equal."""
    first, second, *others = balanced_fit(p)
    slope = ratio * first + second
    for number in others:
        slope = slope * ratio + number
    return 1 / (1 + (1 - ratio) * slope)


def _normalised(ratio: Tensor, t: Tensor, p: int) -> Quintics:
    """The quintics of these ρ and t, of largest y one on [0, 1]."""
    s, t = in_memory(ratio * t), in_memory(t)
    q0, q1, q2 = p * s * t, -(s + t) * (p / (p + 1)), torch.full_like(t, p / (2 * p + 1))

    def root(x: Tensor) -> Tensor:
        return x ** (1 / p) * (q0 + x * (q1 + x * q2))

    end, bottom = root(torch.ones_like(t)), root(t.clamp(max=1.0))
    peak = in_memory(torch.maximum(root(s.clamp(max=1.0)), end))
    return Quintics(q0 / peak, q1 / peak, q2 / peak, ratio, power(torch.minimum(bottom, end) / peak, p))


def followed(x: Tensor, low: Tensor, p: int) -> tuple[Tensor, Tensor]:
    """x `[P, N]` and its lowest value `[N]` after the step of equal peaks for values in [low, 1]."""
    least = lowest_ratio(p)
    # The exponent is that of the minimax steps of p = 2, to 2 %: low ∝ (ρ - 1/5)^1.5.
    ratio = in_memory(least + (1 - least) * low.clamp(0.0, 1.0) ** 0.65)
    step = _normalised(ratio, balanced(ratio, p), p)
    return in_memory(step.image(x, p)), in_memory(step.dip)


def quintics(p: int, room: float, dtype: torch.dtype, device: torch.device) -> Quintics:
    """The candidates; their largest y is one on [0, room]."""
    n = torch.arange(COUNT, dtype=dtype, device=device)
    along, across = n % RATIOS * (1 / (RATIOS - 1)), n // RATIOS * (2 / (OFFSETS - 1)) - 1
    # A little above the ρ of a zero.
    least = 1.03 * lowest_ratio(p)
    ratio = in_memory(least + along * (1 - _BEND + _BEND * along) * (1 - least))
    t = balanced(ratio, p) * (1 + across * (_SPREAD[0] + _SPREAD[1] * across * across))
    found = _normalised(ratio, t, p)
    scale = room ** (-1 / p)
    rows = (found.q0 * scale, found.q1 * scale / room, found.q2 * scale / room**2, ratio, found.dip)
    second = (1 + p) / (2 * p * p)
    one = torch.ones_like(n[:1])
    # 1 + r/p + r² (1 + p)/(2p²) in powers of x = 1 - r, and the settling step.
    classical = (one * (1 + 1 / p + second), -one * (1 / p + 2 * second), one * second, one, one)
    settling = (one, one / p, -one / p, one, one)
    return Quintics(*(in_memory(torch.cat(row)) for row in zip(rows, classical, settling)))
