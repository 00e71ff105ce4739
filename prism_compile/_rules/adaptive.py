"""The adaptive quintic: all coefficients of a step chosen for the spectrum at hand, for every order p.

The state is carried over a bound, so that x = 1 - r, r the eigenvalues of R, lies in (0, 1]. Of the
candidates y of `quintics.py` a step takes the one of least loss, with C the best factor in [1, 1.56],

    ⟨(1 - C y)²⟩ = ⟨1⟩ - 2C⟨y⟩ + C²⟨y²⟩,

where ⟨·⟩ is the mean over the spectrum by the quadrature of `quadrature.py`. C is the bound of the next
state; that x ≤ C by construction and that g has no zero is what makes a steep step safe. The last step does
just that, with a little mass on small values that are visible; the others look ahead:

- y is what the candidate and, after it, the steps of equal peaks for the interval it leaves make of x by the
  end of the run (for at most five steps), plus a share of the exact loss of the step itself;
- moments of degree 2B - 2 do not tell a small x from zero: what lies near zero counts as mass at points that
  the steps left can raise.

That is for singular values. For the eigenvalues of a root or an inverse, of any order, the loss is weighted
by 0.2 + (1 - x)² in all steps but the last, which leaves to later steps what they will correct, and a slope
at zero is rewarded: fewer steps to convergence, at less gain where a run ends before it.

Low rank. Zeros look as if they could be raised, and steps that try it let the true values fall. Runs of eight
steps and more therefore count unseen mass in their first steps only, let nothing fall far before they stop,
and in their last three prefer the classical step, which keeps 1 fixed, by a margin that only visible values
overcome: the true part then converges, cubically, before rounding noise is large enough to be seen. A run
that is longer than the type's digits bear ends with the settling step, which lets noise stay where it is. In
half precision noise is seen at once: there the last three steps are the classical one.

Every score is linear in the moments: one constant table a step, a product, an argmax. All steps run the same
kernels. C enters the coefficients in the last step only.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._iteration.basis import Coefficients
from .._iteration.constants import kept_tensor, small_tensor, traced_constant
from .._iteration.loop import StepInfo
from .._iteration.precision import accumulation_dtype, is_half
from .._iteration.probe import Probe
from .adaptive_numbers import EXACT, HIDDEN, SHORT, SOONER, VISIBLE
from .quadrature import SHIFT, chebyshev, moments_of, nodes, weights_from_moments
from .quintics import COUNT, Quintics, followed, lowest_ratio, power, quintics
from .rule import Rule

CAP = 1.5625
# x of the hidden masses, each within reach of one step more; and of the visible one of the last step.
_POINTS = (3.6e-3, 4e-4, 3.6e-5, 4e-6, 3.6e-7)
_SEEN = 0.0132
_PLANS = len(_POINTS)
# From here on moments of degree ten tell x from zero.
_RESOLVED = 0.1
_SAFE_FROM = 8
# δ and the reward of a slope, by hand; half or twice as much changes final errors by a few percent.
_FOCUS = 0.2
_SLOPE = 0.005
# Of runs of at least so many steps the last so many, and how much loss they suffer to keep 1 fixed.
_CALM = 3
_PATIENCE = 1e-3
# The same in every other step: above the rounding of the moments.
_MARGIN = 1e-6
_CLASSICAL, _SETTLING = COUNT, COUNT + 1
_NEVER = 1e3
_TINY = 1e-30
# A bound on the slope of C y at 0.
_STEEPEST = 25.0


class StepKind(NamedTuple):
    """What a step's table depends on besides order and dtype.

    plan: steps to look ahead, itself included. focus: δ of the weight, in place of a plan. hidden, visible:
    masses; with focus, hidden is the reward of a slope. patience: preference for the classical step. ratio,
    dip: the least allowed. only: the one candidate allowed, or -1.
    """

    plan: int = 1
    focus: float | None = None
    hidden: float = 0.0
    visible: float = 0.0
    patience: float = _MARGIN
    ratio: float = 0.0
    dip: float = 0.0
    only: int = -1


def blocks_of(p: int) -> int:
    """Moments to degree 4p + 2, that of y²; to degree 10 at least and 30 at most."""
    return min(max(2 * p + 2, 6), 16)


def room_of(dtype: torch.dtype) -> float:
    """How far rounding may raise x above one; beyond it the steepest quintics rise 24 times as fast."""
    return 1 + max(0.004, 3 * torch.finfo(dtype).eps)


def _limits(dtype: torch.dtype, squared: bool) -> tuple[int, int]:
    """How many steps may count unseen mass, and how many may choose.

    squared: whether x is the square of what rounding perturbs, as for singular values; noise then is the
    square of the machine epsilon. A step raises x by at most 20, one with nothing to raise by less than 4:
    noise is to stay below the 1e-3 or so that could be seen.
    """
    if is_half(dtype):
        return 5, 8
    if dtype == torch.float64:
        return (5, 24) if squared else (5, 20)
    return (5, 11) if squared else (3, 8)


# Plain tuples, for Dynamo hands named ones over as it pleases.
@traced_constant
def _kinds(steps: int, p: int, dtype: torch.dtype, squared: bool) -> tuple[tuple, ...]:
    """The `StepKind` of each step of a run."""
    info = StepInfo(0, steps, p, 2, dtype, squared)
    return tuple(tuple(_kind(info, step)) for step in range(steps))


def _kind(info: StepInfo, step: int) -> StepKind:
    counted, active = _limits(info.dtype, info.squared)
    active, half = min(info.steps, active), is_half(info.dtype)
    left = active - step
    if left <= 0:
        return StepKind(only=_SETTLING)
    if not (info.squared and info.p == 2):
        return _focused(step < counted, left, info.steps >= _SAFE_FROM)
    plan, least = min(left, _PLANS), lowest_ratio(info.p)
    short, safe = info.steps <= 4, info.steps >= _SAFE_FROM
    # The nearer the end, the less may dip: fewer steps are left to make it good.
    factor = 0.0 if left == 1 or left >= _PLANS else 1.06 if short or plan == 4 else 1.15
    kind = StepKind(plan, ratio=factor * least)
    if left == 1:
        kind = kind._replace(visible=VISIBLE, dip=0.0 if short else 0.25)
    elif step < counted:
        kind = kind._replace(hidden=HIDDEN if plan > 2 else SHORT if short else 0.0)
    if not safe:
        return kind
    counted = min(counted, active - _CALM)
    if step >= counted:
        kind = kind._replace(hidden=0.0, patience=_PATIENCE)
    elif step >= counted - 2:
        # What three classical steps bring back to one.
        kind = kind._replace(dip=0.36 if step == counted - 1 else 0.16)
    if half:
        # Every fall and rise of a value adds to its rounding noise.
        kind = kind._replace(dip=max(kind.dip, 0.49), only=_CLASSICAL if left <= _CALM else -1)
    return kind


def _focused(counted: bool, left: int, safe: bool) -> StepKind:
    """A step of a root or an inverse."""
    calm = left <= _CALM + 1 if safe else left <= 2
    return StepKind(
        focus=_FOCUS if left > 1 else None,
        hidden=_SLOPE if counted and not calm else 0.0,
        patience=_PATIENCE if safe and calm else _MARGIN,
        dip=0.25,
    )


@kept_tensor
def _scores(fields: tuple, p: int, room: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`[B², 2N]`, takes moments to ⟨y⟩ and ⟨y²⟩ of every candidate, as the kind of step counts them."""
    kind = StepKind(*fields)
    blocks = blocks_of(p)
    found, x = quintics(p, room, dtype, device), nodes(blocks, dtype, device)
    readout = weights_from_moments(blocks, dtype, device)
    means = _planned_means if kind.focus is None else _focused_means
    mean, square = means(kind, found, readout, x, p)
    return torch.cat((mean + _preference(kind, found, blocks), square), dim=1)


def _focused_means(
    kind: StepKind, found: Quintics, readout: Tensor, x: Tensor, p: int
) -> tuple[Tensor, Tensor]:
    """⟨φ y⟩ with the reward of a slope, and ⟨φ y²⟩, φ = δ + (1 - x)²."""
    y, weighted = found.image(x[:, None], p), readout * (kind.focus + (1 - x) ** 2)
    # ⟨(1 - x)⁸⟩ times the slope of y at zero: what lies near zero is to rise.
    slope = kind.hidden * torch.mm(readout, ((1 - x) ** 8)[:, None]) * power(found.q0, p)
    return torch.mm(weighted, y) + slope, torch.mm(weighted, y**2)


def _planned_means(
    kind: StepKind, found: Quintics, readout: Tensor, x: Tensor, p: int
) -> tuple[Tensor, Tensor]:
    """⟨y⟩ and ⟨y²⟩ at the end of a plan, masses included, and a share of those on the way."""
    points = small_tensor((*_POINTS, _SEEN), x.dtype, x.device)
    y, low = found.image(torch.cat((x, points))[:, None], p), found.dip
    sooner = []
    for _ in range(kind.plan - 1):
        sooner.append(y[: x.shape[0]])
        y, low = followed(y, low, p)

    # How much of the spectrum lies near zero, however near; and how much is small but visible.
    near = torch.mm(readout, _near_zero(x)[:, None])
    visible = torch.mm(readout, (25 * x * (1 - x) ** 9)[:, None])
    reach = tuple(kind.hidden if k < kind.plan else 0.0 for k in range(_PLANS))
    masses = near * small_tensor((*reach, 0.0), x.dtype, x.device)
    masses = masses + visible * small_tensor((*(0.0 for _ in reach), kind.visible), x.dtype, x.device)
    weights = torch.cat((readout, masses), dim=1)
    mean, square = torch.mm(weights, y), torch.mm(weights, y * y)
    # The sooner the better, where more than one plan gets there.
    for share, image in zip((EXACT, *(SOONER,) * _PLANS), sooner):
        mean = mean + share * torch.mm(readout, image)
        square = square + share * torch.mm(readout, image * image)
    return mean, square


def _near_zero(x: Tensor) -> Tensor:
    """A polynomial of degree ten that is one at zero and small from 0.1 on: (T_5(z)/T_5(z_0))²."""

    def fifth(z: float | Tensor) -> float | Tensor:
        return z * (5 - z * z * (20 - 16 * z * z))

    start = _RESOLVED
    return (fifth((1 + start - 2 * x) / (1 - start)) / fifth((1 + start) / (1 - start))) ** 2


def _preference(kind: StepKind, found: Quintics, blocks: int) -> Tensor:
    """What is added to ⟨y⟩, a multiple of ⟨1⟩, to prefer or forbid candidates: `[B², N]`."""
    number = torch.arange(COUNT + 2, device=found.q0.device)
    zero = torch.zeros_like(found.q0)
    forbidden = (found.ratio < kind.ratio) | (found.dip < kind.dip) | (number == _SETTLING)
    added = torch.where(forbidden, zero - _NEVER, zero)
    added = torch.where(number == _CLASSICAL, zero + kind.patience, added)
    if kind.only >= 0:
        added = torch.where(number == kind.only, zero, zero - _NEVER)
    first = torch.arange(blocks * blocks, device=zero.device)[:, None] == 0
    return torch.where(first, added, zero)


@kept_tensor
def _caps(p: int, room: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The largest C of each candidate, `[N]`: one for those that keep 1 fixed."""
    number = torch.arange(COUNT + 2, device=device)
    one = torch.ones(COUNT + 2, dtype=dtype, device=device)
    return torch.where(number >= _CLASSICAL, one, one * CAP)


@kept_tensor
def _coefficients(p: int, room: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """g0, g1, g2 of each candidate, `[N, 3]`, in powers of R = I - X and Q = R² - R."""
    q0, q1, q2 = quintics(p, room, dtype, device)[:3]
    return torch.stack((q0 + q1 + q2, -q1 - q2, q2), dim=1)


class Prepared(NamedTuple):
    """What the steps of a run read: scores by step."""

    chebyshev: Tensor
    scores: tuple[Tensor, ...]
    caps: Tensor
    coefficients: Tensor


@dataclass(frozen=True)
class AdaptiveRule(Rule):
    """All coefficients, and with them a bound on the next x; carried is that bound, Cᵖ."""

    degrees: tuple[int, ...] = (2,)
    probes = True
    free_count = 3
    plans = True

    def shift(self, degree: int) -> float | None:
        return SHIFT

    def prepare(self, info: StepInfo, residual: Tensor) -> Prepared:
        dtype = accumulation_dtype(info.dtype)
        kinds = _kinds(info.steps, info.p, info.dtype, info.squared)
        family = (info.p, room_of(info.dtype), dtype, residual.device)
        return Prepared(
            chebyshev(residual, blocks_of(info.p), info.dtype, dtype, residual.device),
            tuple(_scores(residual, kind, *family) for kind in kinds),
            _caps(residual, *family),
            _coefficients(residual, *family),
        )

    def start(self, residual: Tensor) -> Tensor:
        return residual.new_ones(residual.shape[0], 1, 1, dtype=accumulation_dtype(residual.dtype))

    def coefficients(
        self, info: StepInfo, probe: Probe | None, carry: Any, prepared: Any
    ) -> tuple[Coefficients, Any]:
        moments = moments_of(probe, prepared.chebyshev)
        mean, square = torch.mm(moments, prepared.scores[info.step]).chunk(2, -1)
        C = torch.minimum((mean / square.clamp(min=_TINY)).clamp(min=1.0), prepared.caps)
        best = (C * (2 * mean - C * square)).argmax(-1, keepdim=True)
        g = torch.nn.functional.embedding(best, prepared.coefficients)
        C = C.gather(1, best)[..., None]
        if info.step == info.steps - 1:
            # The result is the state itself; all before are over their bound, and so is y.
            g = g * C ** (1 / info.p)
        return Coefficients(*g.split(1, -1)), C

    def complete(self, info: StepInfo, *free: Tensor) -> Coefficients:
        return Coefficients(*free)

    def bound(self, carry: Any, p: int) -> Tensor | None:
        return carry

    def leading(self, info: StepInfo, chosen: Coefficients, before: Any, after: Any) -> float | Tensor:
        following = after ** (1 / info.p) if info.step < info.steps - 1 else 1.0
        return chosen.g2 * following / (before ** (1 / info.p) * before * before)

    def growth(self, info: StepInfo) -> float:
        return _STEEPEST ** (1 / info.p)

    def gram_error(self) -> float:
        # What leaves (0, 1] grows by the steepest slopes.
        return 0.01


RULE = AdaptiveRule("adaptive", "this library, `_rules/adaptive.py`")
