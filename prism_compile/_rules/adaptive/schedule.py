"""What each step of a run counts: whether it looks ahead, to what, and what it forbids."""

from typing import Any, NamedTuple

import torch

from ..._iteration.constants import traced_constant
from ..._iteration.loop import StepInfo
from ..._iteration.precision import is_half
from .quintics import CLASSICAL, SETTLING, lowest_ratio

# The furthest that a step looks ahead, itself included.
PLANS = 5
_SAFE_FROM = 8
# The largest C, a bound on what a step leaves.
CAP = 1.5625
# The least ρ by steps left, over that of a zero: near the end little may dip, for few steps are left to make
# it good. Of 1 to 1.33 the best by `tools/tune`'s objective, which tells no less than 0.08 apart.
_RATIOS = {2: 1.06, 3: 1.15, 4: 1.06}
_SHORT_RATIO = 1.06
# Of runs of at least so many steps the last so many, and how much loss they suffer to keep 1 fixed: 1e-4 lets
# low-rank matrices lose digits, 1e-3 loses small values.
_CALM = 3
_PATIENCE = 3e-4
_ROOT_PATIENCE = 1e-3
# The same of a root's second last step: with 1e-3 a semidefinite matrix loses its true part for the noise on
# its zeros, which is in sight by then; with 1e-2 small values below one large one take two steps more.
_LAST_ROOT_PATIENCE = 3e-3
# The same in every other step: above the rounding of the moments.
_MARGIN = 1e-6


class Fitted(NamedTuple):
    """Weights of a step's loss; twice or half of each changes tools/spectra by a few percent.

    hidden, short: mass on small values that moments do not tell from zero, in steps that look further ahead
    than two, and in a second last one of at most four. focus, slope: of roots and inverses, δ of the loss's
    weight and the reward of a slope at zero.
    """

    hidden: float
    short: float
    focus: float
    slope: float


class StepKind(NamedTuple):
    """What a step's table depends on besides order and dtype.

    plan: steps to look ahead, itself included. focus: δ of the weight, in place of a plan. hidden: mass; with
    focus, the reward of a slope. patience: preference for the classical step. ratio, dip: the least allowed.
    cap: the largest C. only: the one candidate allowed, or -1.
    """

    plan: int = 1
    focus: float | None = None
    hidden: float = 0.0
    patience: float = _MARGIN
    ratio: float = 0.0
    dip: float = 0.0
    cap: float = CAP
    only: int = -1


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
def kinds_of(
    steps: int, p: int, dtype: torch.dtype, squared: bool, fitted: Fitted, newton_steps: int = 0
) -> tuple[tuple[Any, ...], ...]:
    """The `StepKind` of each step of a run."""
    info = StepInfo(0, steps, p, 2, dtype, squared, newton_steps)
    return tuple(tuple(_kind(info, step, fitted)) for step in range(steps))


def _kind(info: StepInfo, step: int, fitted: Fitted) -> StepKind:
    counted, active = _limits(info.dtype, info.squared)
    active, half = min(info.steps, active), is_half(info.dtype)
    left = active - step
    if left <= 0:
        # An eigenvalue that rounding made negative is not to grow.
        return StepKind(only=CLASSICAL if half or info.squared else SETTLING)
    if not (info.squared and info.p == 2):
        return _focused(step < counted, left, info.steps >= _SAFE_FROM, fitted)
    plan, least = min(left, PLANS), lowest_ratio(info.p)
    # What Newton's steps have converged is to stay so, as what the first steps of a longer run have.
    safe = info.newton_steps > 0 or info.steps >= _SAFE_FROM
    short = info.steps <= 4 and not safe
    ratio = 0.0 if left not in _RATIOS else _SHORT_RATIO if short else _RATIOS[left]
    kind = StepKind(plan, ratio=ratio * least)
    if left == 1:
        kind = kind._replace(dip=0.0 if short else 0.25)
    elif step < counted:
        kind = kind._replace(hidden=fitted.hidden if plan > 2 else fitted.short if short else 0.0)
    if not safe:
        return kind
    counted = min(counted, active - _CALM)
    if step >= counted:
        # The last of them but one is to leave x itself near one, not what a factor C would bring there.
        kind = kind._replace(hidden=0.0, patience=_PATIENCE, cap=1.0 if left == 2 else CAP)
    elif step >= counted - 2 or info.steps > _SAFE_FROM + 1:
        # What the classical steps bring back to one; and what rounding adds to a low value rises with it.
        kind = kind._replace(dip=0.25 if step == counted - 1 else 0.16)
    if half:
        # Every fall and rise of a value adds to its rounding noise.
        kind = kind._replace(dip=max(kind.dip, 0.49), only=CLASSICAL if left <= _CALM else -1)
    return kind


def _focused(counted: bool, left: int, safe: bool, fitted: Fitted) -> StepKind:
    """A step of a root or an inverse."""
    calm = left <= _CALM + 1 if safe else left <= 2
    # The last step of a short run has no other to leave the rest to.
    patience = _ROOT_PATIENCE if safe or left > 1 else _MARGIN
    return StepKind(
        focus=fitted.focus if left > 1 else None,
        hidden=fitted.slope if counted and not calm else 0.0,
        patience=_LAST_ROOT_PATIENCE if safe and left == 2 else patience,
        dip=0.25,
        # Nothing would bring back what the last one lets fall.
        only=CLASSICAL if safe and left == 1 else -1,
    )
