"""The adaptive quintic: all coefficients of a step chosen for the spectrum at hand, for every order p.

The state is carried over a bound, so that x = 1 - r, r the eigenvalues of R, lies in (0, 1]. Of the
candidates y of `quintics.py` a step takes the one of least loss, with C the best factor in [1, 1.56],

    ⟨(1 - C y)²⟩ = ⟨1⟩ - 2C⟨y⟩ + C²⟨y²⟩,

where ⟨·⟩ is the mean over the spectrum by the quadrature of `quadrature.py`. C is the bound of the next
state; that x ≤ C by construction and that g has no zero is what makes a steep step safe. The last step does
just that; to the others' loss is added what they leave to do. Let z be what the steps of equal peaks for the
interval that y leaves make of y by the end of the run (for at most five steps):

- a share of the loss in z;
- mass at small points that the steps left can raise, in z too, as much as lies near zero: moments of degree
  2B - 2 do not tell a small x from zero.

That is for singular values. For the eigenvalues of a root or an inverse, of any order, the loss is weighted
by δ + (1 - x)² in all steps but the last, which leaves to later steps what they will correct, and a slope
at zero is rewarded: fewer steps to convergence, at less gain where a run ends before it.

Low rank. Zeros look as if they could be raised, and steps that try it let the true values fall. Runs of
eight steps and more, and those that Newton's steps begin, therefore count unseen mass in their first steps
only, let nothing fall far before they stop, and in their last three prefer the classical step, which keeps
1 fixed, by a margin that only visible values overcome: the true part then converges, cubically, before
rounding noise is large enough to be seen. A run that is longer than the type's digits bear ends with
classical steps, which raise what is small little by little; of a root with the settling step, which lets it
stay where it is. In half precision noise is seen at once: there the last three steps of eight are classical
ones too.

Every score is linear in the moments: one constant table a step, a product, an argmax. All steps run the same
kernels. C enters the coefficients in the last step only.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._iteration.basis import Coefficients
from ..._iteration.constants import kept_tensor, traced_constant
from ..._iteration.loop import StepInfo
from ..._iteration.precision import accumulation_dtype
from ..._iteration.probe import Probe
from ..rule import Rule
from .fitted import FITTED
from .quadrature import SHIFT, chebyshev, moments_of
from .quintics import CLASSICAL, COUNT, quintics
from .schedule import Fitted, StepKind, kinds_of
from .scores import blocks_of, scores

_TINY = 1e-30
# A bound on the slope of C y at 0.
_STEEPEST = 25.0


def room_of(dtype: torch.dtype) -> float:
    """How far rounding may raise x above one; beyond it the steepest quintics rise 24 times as fast."""
    return 1 + max(0.004, 3 * torch.finfo(dtype).eps)


@traced_constant
def _tables_of(
    steps: int, p: int, dtype: torch.dtype, squared: bool, fitted: Fitted, newton_steps: int
) -> tuple[tuple[tuple[Any, ...], ...], tuple[int, ...]]:
    """The kinds of steps of a run, and which of them each step is."""
    kinds = kinds_of(steps, p, dtype, squared, fitted, newton_steps)
    distinct = tuple(dict.fromkeys(kinds))
    return distinct, tuple(map(distinct.index, kinds))


@kept_tensor
def _caps(cap: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The largest C of each candidate, `[N]`: one for those that keep 1 fixed."""
    number = torch.arange(COUNT + 2, device=device)
    one = torch.ones(COUNT + 2, dtype=dtype, device=device)
    return torch.where(number >= CLASSICAL, one, one * cap)


@kept_tensor
def _coefficients(p: int, room: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """g0, g1, g2 of each candidate, `[N, 3]`, in powers of R = I - X and Q = R² - R."""
    q0, q1, q2 = quintics(p, room, dtype, device)[:3]
    return torch.stack((q0 + q1 + q2, -q1 - q2, q2), dim=1)


class Prepared(NamedTuple):
    """What the steps of a run read: scores and caps by step."""

    chebyshev: Tensor
    scores: tuple[Tensor, ...]
    caps: tuple[Tensor, ...]
    coefficients: Tensor


@dataclass(frozen=True)
class AdaptiveRule(Rule):
    """All coefficients, and with them a bound on the next x; carried is that bound, Cᵖ."""

    degrees: tuple[int, ...] = (2,)
    fitted: Fitted = FITTED
    probes = True
    free_count = 3
    plans = True

    def shift(self, degree: int) -> float | None:
        return SHIFT

    def prepare(self, info: StepInfo, residual: Tensor) -> Prepared:
        dtype = accumulation_dtype(info.dtype)
        kinds, numbers = _tables_of(
            info.steps, info.p, info.dtype, info.squared, self.fitted, info.newton_steps
        )
        family = (info.p, room_of(info.dtype), dtype, residual.device)
        tables = scores(residual, kinds, *family).unbind()
        # A tensor for each: parts of one would be read at other places by every step's kernel.
        caps = [_caps(residual, StepKind(*kind).cap, *family[2:]) for kind in kinds]
        return Prepared(
            chebyshev(residual, blocks_of(info.p), info.dtype, dtype, residual.device),
            tuple(tables[number] for number in numbers),
            tuple(caps[number] for number in numbers),
            _coefficients(residual, *family),
        )

    def start(self, residual: Tensor) -> Tensor:
        return residual.new_ones(residual.shape[0], 1, 1, dtype=accumulation_dtype(residual.dtype))

    def coefficients(
        self, info: StepInfo, probe: Probe | None, carry: Any, prepared: Any
    ) -> tuple[Coefficients, Any]:
        assert probe is not None
        moments = moments_of(probe, prepared.chebyshev, blocks_of(info.p))
        mean, square = torch.mm(moments, prepared.scores[info.step]).chunk(2, -1)
        C = torch.minimum((mean / square.clamp(min=_TINY)).clamp(min=1.0), prepared.caps[info.step])
        best = (C * (2 * mean - C * square)).argmax(-1, keepdim=True)
        g = torch.nn.functional.embedding(best, prepared.coefficients)
        C = C.gather(1, best)[..., None]
        if info.step == info.steps - 1:
            # The result is the state itself; all before are over their bound, and so is y.
            g = g * C ** (1 / info.p)
        return Coefficients(*g.split(1, -1)), C

    def complete(self, info: StepInfo, *free: Tensor) -> Coefficients:
        return Coefficients(*free)

    def bound(self, carry: Tensor, p: int) -> Tensor | None:
        return carry

    def growth(self, info: StepInfo) -> float:
        steepest: float = _STEEPEST ** (1 / info.p)
        return steepest

    def gram_error(self) -> float:
        # What leaves (0, 1] grows by the steepest slopes.
        return 0.01


RULE = AdaptiveRule("adaptive", "this library, `_rules/adaptive`")
