"""The rule "minimax": steps of equal ripple, which need no look at the spectrum.

A step takes x in (0, 1] to y = x g(x)ᵖ, g quadratic; of a polar factor x is the square of a singular value
and p = 2. With f = y^(1/p) = x^(1/p) g(x), stationary at s = ρt < t,

    g(x) = p s t - (s + t) x p/(p + 1) + x² p/(2p + 1)        (times a constant),

f(s) = f(1) = 1 fixes t. Of the steps that leave no less than L of [ℓ, 1], the one with f(t) = f(ℓ) = L has
the lowest ℓ. It is the best step for that interval, and steps each of which is the best for what the last one
left are together the best (Amsel et al., arXiv 2505.16932, prove it for p = 2).

Tables are built from their end: the last step leaves L and so reaches down to ℓ, the one before it leaves
ℓ^(1/p), and so on. One number, the aim L, thus gives the tables of all lengths, each the end of the next; the
interval is what comes out. Three aims are in use:

- from eight steps on, in half precision five, the machine epsilon, with a classical step last, which leaves
  at 1 what is there. Once rounding is reached, settling steps fill up the run;
- below, the least mean error over a prior, `short`;
- with `tol` and `condition` the interval, and the deviation is as small as the steps make it.

W = g(R) - g0 I is evaluated in R = I - X and R², not in powers of X: most values end near x = 1, where R is
small and its rounding with it. A value at t loses as many digits as f(t) is below one, since X W is then
close to -g0 X: long tables, which would do it many times, bound that.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy
import torch
from numpy import ndarray
from torch import Tensor

from .._iteration.basis import Coefficients
from .._iteration.precision import is_half
from .._iteration.rule import Rule, StepInfo
from .._torch import traced_constant
from .taylor import taylor_coefficients

# Runs of at least so many steps are for accuracy. In half precision five reach down to a rounding, and more
# that raised what lies below would raise noise.
EXACT_FROM, _HALF_EXACT_FROM = 8, 5
# Of long tables the least x that a step leaves at t. Twice as much reaches a fifth less far down, half as
# much a fifth further; roundings change by as much. Without a limit 15 steps lose four digits.
_DIP, _HALF_DIP = 0.04, 0.25
# The same of short tables: of a high order f(t) is small no sooner than x is lost.
_SHORT_DIP = 1e-3
# What rounding makes of a zero, in machine epsilons: half of it lets the noise of 14 steps into the true part
# of a float32 matrix of low rank, twice of it leaves a value of 4e-6 below one.
_NOISE, _HALF_NOISE = 16, 1
# The prior of `short`: x = 1/(1 + exp(-t)), t from -21 to 4, of density x^0.3. Half the slope costs 3 % of
# the mean error of `tools/spectra`, twice of it 4 %; -16 in place of -21 a third of it at seven steps, -26,
# or ten in place of four, nothing.
_LOWEST, _HIGHEST, _SLOPE, _NODES = -21.0, 4.0, 0.3, 512
# The aims of `short`: 32 deviations from one, from 1e-5 to 3.6/steps². Half of that costs 3 % of the mean
# error at three steps; with twice of it five steps leave a matrix of low rank at 0.3.
_AIMS, _LEAST, _MOST = 32, 1e-5, 3.6

Row = tuple[float, float, float]


def image(q: Any, x: Any, p: int) -> Any:
    """y = x g(x)ᵖ for the three coefficients of g in powers of x; of numbers, arrays or tensors."""
    q0, q1, q2 = q
    return x * (q0 + x * (q1 + x * q2)) ** p


def results(rows: Any, x: Any, left: int, p: int) -> Any:
    """f = y^(1/p) after the last steps of all tables: `[E, N]` for rows `[steps, E, 3]` and x `[N]`."""
    y = x[None]
    for step in range(left - 1, -1, -1):
        y = image(rows[step].T[..., None], y, p)
    return y ** (1 / p)


def in_x(g: Any) -> Any:
    """Coefficients in powers of r = 1 - x as those in powers of x; the map is its own inverse."""
    g0, g1, g2 = g
    return g0 + g1 + g2, -g1 - 2 * g2, g2


def _value(q: ndarray, x: ndarray, p: int) -> Any:
    return x ** (1 / p) * (q[..., 0] + x * (q[..., 1] + x * q[..., 2]))


def _ripple(rho: ndarray, p: int) -> tuple[ndarray, ndarray]:
    """t, and the coefficients of g, of the steps with s = ρt and f(s) = f(1) = 1."""
    # In units of t: h' = u^(1/p - 1) (u - ρ)(u - 1), and h meets its peak h(ρ) again at u = 1/t > 1. Newton's
    # method comes down to it from the right, where h is convex: eight rounds reach its digits.
    h = numpy.stack([p * rho, -(1 + rho) * (p / (p + 1)), numpy.full_like(rho, p / (2 * p + 1))], axis=-1)
    peak, u = _value(h, rho, p), 2 - rho
    for _ in range(8):
        u = u - (_value(h, u, p) - peak) / (u ** (1 / p - 1) * (u - rho) * (u - 1) + 1e-300)
    q = h * numpy.stack([numpy.ones_like(u), u, u * u], axis=-1)
    return 1 / u, q / q.sum(-1, keepdims=True)


def _bisected(low: ndarray, high: ndarray, below: Callable[[ndarray], Any]) -> ndarray:
    """Where `below` ends, for each pair of ends."""
    for _ in range(52):
        middle = (low + high) / 2
        inside = below(middle)
        low, high = numpy.where(inside, middle, low), numpy.where(inside, high, middle)
    return low


def _step(least: ndarray, p: int) -> ndarray:
    """The coefficients `[..., 3]` of the steps with f(t) = least."""

    def falls_short(rho: ndarray) -> Any:
        t, q = _ripple(rho, p)
        return _value(q, t, p) < least

    # f(t) is zero for the first ρ, and as good as one for the last.
    first, last = numpy.full_like(least, 1 / (2 * p + 1)), numpy.full_like(least, 1 - 1e-7)
    return _ripple(_bisected(first, last, falls_short), p)[1]


def _reach(q: ndarray, aim: ndarray, p: int) -> ndarray:
    """The z = x^(1/p) from which on f is at least the aim, for steps with f(t) of at least that."""
    # f' = 0 at s: the smaller root of its quadratic factor.
    a, b, c = (2 * p + 1) * q[..., 2], (p + 1) * q[..., 1], q[..., 0]
    s = 2 * c / (numpy.sqrt(numpy.maximum(b * b - 4 * a * c, 0)) - b)
    return _bisected(0 * s, s ** (1 / p), lambda z: _value(q, z**p, p) < aim)


def steps_to(
    aim: ndarray,
    count: int,
    p: int,
    dip: float = 0.0,
    overshoot: float = 1.0,
    exact: bool = False,
    least: float = 0,
) -> tuple[ndarray, ndarray]:
    """The last `count` steps of the tables with these aims `[E]`, and the z = x^(1/p) that so many reach.

    dip: the least x at t. overshoot: the largest value that a step is for, one or a little more. exact: the
    last step is the classical one. least: an x; no more steps are made once it is reached.

    Returns:
        Coefficients in powers of x `[count, E, 3]` and z `[count, E]`, from one step left upwards.
    """
    rows: list[ndarray] = []
    reached: list[ndarray] = []
    while len(rows) < count and (not reached or (reached[-1] > least ** (1 / p)).any()):
        if exact and not rows:
            q = numpy.broadcast_to(in_x(taylor_coefficients(p, 2)), (*aim.shape, 3))
        else:
            q = _step(numpy.maximum(aim, dip ** (1 / p)), p)
        aim = overshoot * _reach(q, aim, p)
        rows.append(q * overshoot ** -(1 + p * numpy.arange(3.0)))
        reached.append(aim)
    return numpy.stack(rows), numpy.stack(reached)


class Run(NamedTuple):
    """What a table depends on besides its aim; squared: as in `Form`."""

    steps: int
    p: int
    dtype: torch.dtype
    squared: bool

    @property
    def eps(self) -> float:
        return float(torch.finfo(self.dtype).eps)

    @property
    def overshoot(self) -> float:
        """How far above one rounding puts a value at most, for steps multiply by ten what exceeds one.

        In half precision it counts in what is reached, elsewhere not.
        """
        return 1 + (2 if is_half(self.dtype) else 256) * self.eps


@traced_constant
def largest_deviation(steps: int) -> float:
    """That a short run leaves of a value at one."""
    return min(_MOST / steps**2, 0.45)


def prior(run: Run, line: Callable[[float, float, int], Any]) -> tuple[Any, Any]:
    """Nodes x and weights, both `[N]`; line: numpy's or torch's `linspace`."""
    # What is below one rounding is rounding.
    lowest = max(_LOWEST, math.log(run.eps) * (2 if run.squared else 1))
    x = 1 / (1 + math.e ** -line(lowest, _HIGHEST, _NODES))
    return x, x**_SLOPE / (x**_SLOPE).sum()


@cache
def short(run: Run) -> tuple[ndarray, int, float]:
    """The tables of a short run `[steps, E, 3]`, the aim of least mean error and a factor on its results."""
    deviations = numpy.geomspace(_LEAST, largest_deviation(run.steps), _AIMS)
    aims = (1 - deviations) / (1 + deviations)
    rows, _ = steps_to(aims, run.steps, run.p, _SHORT_DIP, run.overshoot)
    x, w = prior(run, numpy.linspace)
    f = results(rows, x, run.steps, run.p)
    # The mean of (1 - c f)² is least for c = ⟨f⟩/⟨f²⟩.
    c = numpy.clip(f @ w / (f * f @ w), 1, 1 + largest_deviation(run.steps))
    best = int(((1 - c[:, None] * f) ** 2 @ w).argmin())
    return rows, best, float(c[best])


def _least_mean(run: Run) -> ndarray:
    rows, best, factor = short(run)
    table: ndarray = rows[::-1, best].copy()
    table[-1] *= factor
    return table


def _exact(run: Run) -> ndarray:
    noise, dip = (_HALF_NOISE, _HALF_DIP) if is_half(run.dtype) else (_NOISE, _DIP)
    # Where x is a square, that of what is rounded. Where it is not, noise may be negative, and what a table
    # brings below -1.5 diverges: the root of a semidefinite matrix, in 20 steps, is NaN by a quarter of this.
    least, aim = noise**2 * run.eps ** (2 if run.squared else 1), numpy.array([1 - run.eps])
    rows, _ = steps_to(aim, run.steps, run.p, dip, run.overshoot, exact=True, least=least)
    # g = 1 + (r - r²)/p leaves 0 and 1 where they are: what rounding makes of a zero is to stay small, and of
    # a root it may be negative. An inverse is measured against A itself, and corrects what it raises.
    settling = taylor_coefficients(1, 2) if run.p == 1 else (1, 1 / run.p, -1 / run.p)
    rest = numpy.broadcast_to(in_x(settling), (run.steps - len(rows), 3))
    return numpy.concatenate([rows[::-1, 0], rest])


def _aim(deviation: ndarray, p: int) -> ndarray:
    """The aim that leaves x within a deviation of one, results being scaled by (1 + deviation)^(1/p)."""
    aim: ndarray = ((1 - deviation) / (1 + deviation)) ** (1 / p)
    return aim


def steps_for_interval(least: float, tol: float, p: int, most: int) -> int | None:
    """The fewest steps that bring [least, 1] within tol of one, None if it is more than `most`."""
    _, reached = steps_to(_aim(numpy.array([tol]), p), most, p, _DIP, least=least)
    return len(reached) if reached[-1, 0] <= least ** (1 / p) else None


def _of_interval(least: float, tol: float, run: Run) -> ndarray:
    """The table that brings [least, 1] nearest to one."""
    low, high = 1e-15, tol
    for _ in range(2):
        deviations = numpy.geomspace(low, high, 64)
        rows, reached = steps_to(_aim(deviations, run.p), run.steps, run.p, _DIP)
        found = min(int((reached[-1] > least ** (1 / run.p)).sum()), 63)
        low, high = deviations[max(found - 1, 0)], deviations[found]
    table: ndarray = rows[::-1, found].copy()
    table[-1] *= (1 + high) ** (1 / run.p)
    return table


# Plain arguments, for Dynamo hands named tuples over as it pleases.
@traced_constant
def _table(
    steps: int, p: int, dtype: torch.dtype, squared: bool, exact: bool, interval: tuple[float, float] | None
) -> tuple[Row, ...]:
    """The coefficients of a run's steps in powers of R."""
    run = Run(steps, p, dtype, squared)
    if interval is not None:
        table = _of_interval(*interval, run)
    else:
        table = _exact(run) if exact else _least_mean(run)
    return tuple(in_x(row) for row in table.tolist())


def is_exact(info: StepInfo) -> bool:
    """Whether a run is one for accuracy: it is after Newton's steps, which leave little to raise."""
    return info.newton_steps > 0 or info.steps >= (_HALF_EXACT_FROM if is_half(info.dtype) else EXACT_FROM)


@dataclass(frozen=True)
class MinimaxRule(Rule):
    """A table for the steps of the run."""

    degrees: tuple[int, ...] = (2,)

    def complete(self, info: StepInfo, *free: Tensor) -> Coefficients:
        rows = _table(info.steps, info.p, info.dtype, info.squared, is_exact(info), info.interval)
        return Coefficients(*rows[info.step])

    def gram_error(self) -> float:
        # What leaves (0, 1] grows by the steepest slopes.
        return 0.01


MINIMAX = MinimaxRule("minimax", "this library; for p = 2 Amsel et al., arXiv 2505.16932")
