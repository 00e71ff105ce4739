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

- from eight steps on the machine epsilon, with a classical step last, which leaves at 1 what is there. What
  remains of a run when its table has reached the level of rounding are settling steps, which raise nothing;
- below, the least mean error over a prior, `Short`;
- with `tol` and `condition` the interval, and the deviation is as small as the steps make it.

W = g(R) - g0 I is evaluated in R = I - X and R², not in powers of X: most values end near x = 1, where R is
small and its rounding with it. A value at t loses as many digits as f(t) is below one, since X W is then
close to -g0 X; `_DIP` bounds that, for long tables would do it many times.
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
from .._iteration.constants import traced_constant
from .._iteration.info import StepInfo
from .rule import Rule
from .taylor import taylor_coefficients

# Runs of at least so many steps are for accuracy.
EXACT_FROM = 8
# The least f(t) of a long table. 0.4 reaches two thirds as far down and rounds half as much, 0.1 reaches a
# fifth further and rounds twice as much; without a limit 15 steps lose four digits.
_DIP = 0.2
# The prior of `Short`: x = 1/(1 + exp(-t)), t from -21 to 4, of density x^0.3. Half the slope costs 3 % of
# the mean error of `tools/spectra`, twice of it 4 %; -16 in place of -21 costs a third of it at seven steps,
# -26, or ten in place of four, nothing.
_LOWEST, HIGHEST_LOGIT, _SLOPE = -21.0, 4.0, 0.3
NODES = 512
# The aims of `Short`: 32 deviations from one, at most 5/steps². Half of that costs 3 % of the mean error at
# three steps; with twice of it five steps leave a matrix of low rank at 0.3.
_AIMS, _LEAST, _MOST = 32, 1e-5, 5.0

Row = tuple[float, float, float]


def value(q: Any, x: Any, p: int) -> Any:
    """f(x) = x^(1/p) g(x) for the coefficients q `[..., 3]` of g in powers of x; of arrays or of tensors."""
    return x ** (1 / p) * (q[..., 0] + x * (q[..., 1] + x * q[..., 2]))


def _ripple(rho: ndarray, p: int) -> tuple[ndarray, ndarray]:
    """t, and the coefficients of g, of the steps with s = ρt and f(s) = f(1) = 1."""
    # In units of t: h' = u^(1/p - 1) (u - ρ)(u - 1), and h meets its peak h(ρ) again at u = 1/t > 1. Newton's
    # method comes down to it from the right, where h is convex: eight rounds reach its digits.
    h = numpy.stack([p * rho, -(1 + rho) * (p / (p + 1)), numpy.full_like(rho, p / (2 * p + 1))], axis=-1)
    peak, u = value(h, rho, p), 2 - rho
    for _ in range(8):
        u = u - (value(h, u, p) - peak) / (u ** (1 / p - 1) * (u - rho) * (u - 1) + 1e-300)
    q = h * numpy.stack([numpy.ones_like(u), u, u * u], axis=-1)
    return 1 / u, q / q.sum(-1, keepdims=True)


def _bisected(low: ndarray, high: ndarray, below: Callable[[ndarray], Any]) -> ndarray:
    """Where `below` ends, for each pair of ends."""
    for _ in range(52):
        middle = (low + high) / 2
        inside = below(middle)
        low, high = numpy.where(inside, middle, low), numpy.where(inside, high, middle)
    found: ndarray = (low + high) / 2
    return found


def _step(least: ndarray, p: int) -> ndarray:
    """The coefficients `[..., 3]` of the steps with f(t) = least."""

    def falls_short(rho: ndarray) -> Any:
        t, q = _ripple(rho, p)
        return value(q, t, p) < least

    # f(t) is zero for the first ρ, and as good as one for the last.
    first = numpy.full_like(least, 1 / (2 * p + 1))
    return _ripple(_bisected(first, numpy.full_like(least, 1 - 1e-7), falls_short), p)[1]


def _reach(q: ndarray, aim: ndarray, p: int) -> ndarray:
    """The z = x^(1/p) from which on f is at least the aim, for steps with f(t) of at least that."""
    # f' = 0 at s: the smaller root of its quadratic factor.
    a, b, c = (2 * p + 1) * q[..., 2], (p + 1) * q[..., 1], q[..., 0]
    s = 2 * c / (numpy.sqrt(numpy.maximum(b * b - 4 * a * c, 0)) - b)
    return _bisected(0 * s, s ** (1 / p), lambda z: value(q, z**p, p) < aim)


def classical(p: int) -> Row:
    """The classical step, in powers of x."""
    g0, g1, g2 = in_x(taylor_coefficients(p, 2))
    return g0, g1, g2


def settling(p: int) -> Row:
    """g = 1 + (x - x²)/p: it leaves 0 and 1 where they are, and what is near either nearly so."""
    return 1.0, 1 / p, -1 / p


def in_x(g: Any) -> Any:
    """Coefficients in powers of r = 1 - x as those in powers of x, and the other way about."""
    g0, g1, g2 = g
    return g0 + g1 + g2, -g1 - 2 * g2, g2


def steps_to(
    aim: ndarray,
    count: int,
    p: int,
    *,
    dip: float = 0.0,
    room: float = 1.0,
    last: Row | None = None,
    floor: float = 0.0,
) -> tuple[ndarray, ndarray]:
    """The last `count` steps of the tables with these aims `[E]`, and the z = x^(1/p) that so many reach.

    dip: the least f(t). room: steps are for values of up to so much above one. last: a step in place of the
    last one. floor: a z that no more steps are made for once it is reached.

    Returns:
        Coefficients in powers of x `[count, E, 3]` and z `[count, E]`, from one step left upwards.
    """
    rows: list[ndarray] = []
    reached: list[ndarray] = []
    while len(rows) < count and (not reached or (reached[-1] > floor).any()):
        if last is not None and not rows:
            q = numpy.broadcast_to(numpy.array(last), (*aim.shape, 3))
        else:
            q = _step(numpy.maximum(aim, dip), p)
        aim = room * _reach(q, aim, p)
        rows.append(q * room ** -(1 + p * numpy.arange(3.0)))
        reached.append(aim)
    return numpy.stack(rows), numpy.stack(reached)


def noise(dtype: torch.dtype, squared: bool) -> float:
    """The x that rounding makes of a zero."""
    return float(torch.finfo(dtype).eps) ** (2 if squared else 1)


def _room(dtype: torch.dtype) -> float:
    """How far above one rounding puts a value: in half precision it counts, for there steps are steep."""
    return 1 + float(torch.finfo(dtype).eps)


class Short(NamedTuple):
    """The tables of a short run: those of all aims, and the aim of the least mean error over the prior.

    rows: `[steps, E, 3]` from one step left upwards, in powers of x. best: the aim's index, scale: the factor
    on the result that goes with it.
    """

    rows: ndarray
    best: int
    scale: float


def image(q: Any, x: Any, p: int) -> Any:
    """y = x g(x)ᵖ, of arrays or of tensors."""
    return x * (q[..., 0] + x * (q[..., 1] + x * q[..., 2])) ** p


def results(rows: Any, x: Any, left: int, p: int) -> Any:
    """f = y^(1/p) after the last steps of all tables: `[E, N]` for rows `[steps, E, 3]` and x `[N]`."""
    y = x[None]
    for step in range(left - 1, -1, -1):
        y = image(rows[step][:, None], y, p)
    return y ** (1 / p)


def largest_deviation(steps: int) -> float:
    """Of the results of a short run from one."""
    return min(_MOST / steps**2, 0.45)


def lowest_logit(dtype: torch.dtype, squared: bool) -> float:
    """Where the prior begins: rounding makes values below of a zero."""
    return max(_LOWEST, math.log(noise(dtype, squared)))


def prior(t: Any) -> tuple[Any, Any]:
    """Values x and their weights, for t that are equally spaced; of an array or a tensor."""
    x = 1 / (1 + math.e**-t)
    return x, x**_SLOPE


@cache
def short(steps: int, p: int, dtype: torch.dtype, squared: bool) -> Short:
    """The tables of a run of fewer than `EXACT_FROM` steps."""
    most = largest_deviation(steps)
    deviations = numpy.geomspace(_LEAST, most, _AIMS)
    rows, _ = steps_to((1 - deviations) / (1 + deviations), steps, p, room=_room(dtype))
    nodes, weights = prior(numpy.linspace(lowest_logit(dtype, squared), HIGHEST_LOGIT, NODES))
    weights, f = weights / weights.sum(), results(rows, nodes, steps, p)
    # The mean of (1 - c f)² is least for c = ⟨f⟩/⟨f²⟩.
    scale = numpy.clip(f @ weights / (f * f @ weights), 1, 1 + most)
    best = int(((1 - scale[:, None] * f) ** 2 @ weights).argmin())
    return Short(rows, best, float(scale[best]))


def _exact(steps: int, p: int, dtype: torch.dtype, squared: bool) -> list[Row]:
    """The table of a long run, in powers of x."""
    aim = numpy.array([1 - torch.finfo(dtype).eps])
    floor = noise(dtype, squared) ** (1 / p)
    rows, _ = steps_to(aim, steps, p, dip=_DIP, room=_room(dtype), last=classical(p), floor=floor)
    return [tuple(row) for row in rows[::-1, 0].tolist()] + [in_x(settling(p))] * (steps - len(rows))


def _least_mean(steps: int, p: int, dtype: torch.dtype, squared: bool) -> list[Row]:
    """The table of a short run, in powers of x."""
    found = short(steps, p, dtype, squared)
    rows = found.rows[::-1, found.best].copy()
    rows[-1] *= found.scale
    return [tuple(row) for row in rows.tolist()]


class Interval(NamedTuple):
    """What `tol` and `condition` ask of a table: the least x, and the largest |1 - x| that is to be left."""

    least: float
    tol: float


def steps_of(interval: Interval, p: int, most: int) -> int | None:
    """The least number of steps that does what is asked, None if it is more than `most`."""
    z = interval.least ** (1 / p)
    _, reached = steps_to(_aim(numpy.array([interval.tol]), p), most, p, dip=_DIP, floor=z)
    return len(reached) if reached[-1, 0] <= z else None


def _aim(deviation: ndarray, p: int) -> ndarray:
    """The aim that leaves x within a deviation of one, results being scaled by (1 + deviation)^(1/p)."""
    aim: ndarray = ((1 - deviation) / (1 + deviation)) ** (1 / p)
    return aim


def _of_interval(interval: Interval, steps: int, p: int) -> list[Row]:
    """The table that leaves the least deviation, in powers of x."""
    low, high = 1e-15, interval.tol
    for _ in range(2):
        deviations = numpy.geomspace(low, high, 64)
        rows, reached = steps_to(_aim(deviations, p), steps, p, dip=_DIP)
        found = int((reached[-1] > interval.least ** (1 / p)).sum())
        found = min(found, 63)
        low, high = deviations[max(found - 1, 0)], deviations[found]
    table = rows[::-1, found].copy()
    table[-1] *= (1 + high) ** (1 / p)
    return [tuple(row) for row in table.tolist()]


# Plain arguments, for Dynamo hands named tuples over as it pleases.
@traced_constant
def _table(
    steps: int, p: int, dtype: torch.dtype, squared: bool, exact: bool, interval: tuple[float, float] | None
) -> tuple[tuple[float, float, float], ...]:
    """The coefficients of a run's steps in powers of R."""
    if interval is not None:
        rows = _of_interval(Interval(*interval), steps, p)
    else:
        rows = (_exact if exact else _least_mean)(steps, p, dtype, squared)
    return tuple(map(in_x, rows))


def is_exact(info: StepInfo) -> bool:
    """Whether a run is one for accuracy."""
    return info.steps + info.newton_steps >= EXACT_FROM


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


RULE = MinimaxRule("minimax", "this library; for p = 2 Amsel et al., arXiv 2505.16932")
