"""The coefficient rules: how the polynomial g(R) = g0 I + g1 R + g2 R² of each step is chosen.

An iteration asks its rule for coefficients and does not know which rule it is. A rule says how many Krylov
blocks it reads (none for fixed coefficients) and forms them; each step it fits its free numbers to them and
completes these to the coefficients.
To add a rule, subclass `Rule` and add a row to `RULES`.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import adaptive, quadrature
from .fit import fit_coefficient, fit_scalar
from .krylov import krylov_blocks
from .polynomials import free_width, taylor_coefficients
from .precision import accumulation_dtype


class Coefficients(NamedTuple):
    """g(R) = g0 I + g1 R + g2 R²; each a number or a `[b, 1, 1]` tensor. g2 is 0 for degree 1."""

    g0: float | Tensor
    g1: float | Tensor
    g2: float | Tensor

    def leading(self, degree: int) -> float | Tensor:
        """The coefficient of the highest power, α."""
        return self.g2 if degree == 2 else self.g1


class StepInfo(NamedTuple):
    """What a rule may know of a step besides its moments; all of it is static."""

    step: int
    steps: int
    p: int
    degree: int


@dataclass(frozen=True)
class Rule:
    """Base of the rules.

    scaling: the scaling its source prescribes, used where the caller names none; margin: its source's
    factor on the scale; orders, degrees: the p and degree it serves (None: any).
    """

    name: str
    source: str
    scaling: str = "schatten"
    margin: float = 1.0
    orders: tuple[int, ...] | None = None
    degrees: tuple[int, ...] = (1, 2)
    fitted_count: ClassVar[int] = 0
    # Whether a step depends on how many are to follow.
    plans: ClassVar[bool] = False

    def krylov_count(self, p: int, degree: int) -> int:
        """How many Krylov blocks `fit` reads."""
        return 0

    def constants(self, dtype: torch.dtype, device: torch.device) -> Any:
        """What `fit` reads in every step, made once a run for matrices of this dtype."""
        return None

    def start(self, residual: Tensor) -> tuple[Tensor, ...]:
        """What stands for the numbers of the step before the first."""
        return ()

    def blocks(
        self,
        info: StepInfo,
        sketch: Tensor,
        residual: Tensor,
        square: Tensor | None,
        previous: tuple[Tensor, ...],
    ) -> list[Tensor]:
        """The Krylov blocks `[b, q, n]` of the residual `[b, n, n]`; previous: as in `fit`."""
        return krylov_blocks(sketch, residual, square, self.krylov_count(info.p, info.degree))

    def fit(
        self, info: StepInfo, blocks: list[Tensor], previous: tuple[Tensor, ...] = (), constants: Any = None
    ) -> tuple[Tensor, ...]:
        """The `fitted_count` numbers `[b, 1, 1]` of a step that depend on A.

        previous: those of the step before, or `start`.
        """
        return ()

    def complete(self, info: StepInfo, *fitted: float | Tensor) -> Coefficients:
        """The coefficients of a step, given its fitted numbers."""
        raise NotImplementedError

    def scalar_fit(
        self, info: StepInfo, residuals: list[float], previous: tuple[float, ...] = ()
    ) -> tuple[float, ...]:
        """`fit` for a known spectrum of residuals, without tensors."""
        return ()

    def growth(self, info: StepInfo) -> float:
        """The most by which a step can enlarge a vanishing singular value: the largest possible g(1)."""
        return sum(self.complete(info))

    def gram_error(self) -> float:
        """The largest error relative to σ_max² that propagating a Gram matrix may cause."""
        return 0.05


def _completed(info: StepInfo, leading: float | Tensor) -> Coefficients:
    """Taylor coefficients up to the leading one, which is given."""
    taylor = taylor_coefficients(info.p, info.degree)
    if info.degree == 1:
        return Coefficients(1.0, leading, 0.0)
    return Coefficients(1.0, taylor[1], leading)


class TaylorRule(Rule):
    """The classical iteration: every coefficient is that of (1 - r)^(-1/p)."""

    def complete(self, info: StepInfo) -> Coefficients:
        return _completed(info, taylor_coefficients(info.p, info.degree)[info.degree])


class PrismRule(Rule):
    """The paper's rule: the leading coefficient minimises the sketched norm of the next residual."""

    fitted_count = 1

    def krylov_count(self, p: int, degree: int) -> int:
        return degree * p + 2

    def fit(
        self, info: StepInfo, blocks: list[Tensor], previous: tuple[Tensor, ...] = (), constants: Any = None
    ) -> tuple[Tensor, ...]:
        return (fit_coefficient(blocks, info.p, info.degree),)

    def complete(self, info: StepInfo, leading: float | Tensor) -> Coefficients:
        return _completed(info, leading)

    def scalar_fit(
        self, info: StepInfo, residuals: list[float], previous: tuple[float, ...] = ()
    ) -> tuple[float, ...]:
        return (fit_scalar(residuals, info.p, info.degree),)

    def growth(self, info: StepInfo) -> float:
        highest = taylor_coefficients(info.p, info.degree)[info.degree] + free_width(info.p, info.degree)
        return sum(self.complete(info, highest))


@cache
def _scalar_tables() -> adaptive.Tables:
    return adaptive.tables(np.arange(float(adaptive.COUNT)), torch.float64, np)


@dataclass(frozen=True)
class AdaptiveRule(Rule):
    """All three coefficients, and with them a bound on the next σ_max: see `adaptive.py`."""

    orders: tuple[int, ...] | None = (2,)
    degrees: tuple[int, ...] = (2,)
    fitted_count = 4
    plans = True

    def krylov_count(self, p: int, degree: int) -> int:
        return quadrature.BLOCKS

    def constants(self, dtype: torch.dtype, device: torch.device) -> adaptive.Tables:
        index = torch.arange(adaptive.COUNT, dtype=accumulation_dtype(dtype), device=device)
        return adaptive.tables(index, dtype)

    def start(self, residual: Tensor) -> tuple[Tensor, ...]:
        one = residual.new_ones(residual.shape[0], 1, 1, dtype=accumulation_dtype(residual.dtype))
        return *(g * one for g in adaptive.CLASSICAL), adaptive.pad_of(residual.dtype) * one

    def blocks(
        self,
        info: StepInfo,
        sketch: Tensor,
        residual: Tensor,
        square: Tensor | None,
        previous: tuple[Tensor, ...],
    ) -> list[Tensor]:
        return quadrature.chebyshev_blocks(sketch, residual, previous[-1])

    def fit(
        self, info: StepInfo, blocks: list[Tensor], previous: tuple[Tensor, ...] = (), constants: Any = None
    ) -> tuple[Tensor, ...]:
        moments = quadrature.moments_of(blocks)
        return adaptive.fit_quintic(moments, previous[-1], info.step, info.steps, constants)

    def complete(self, info: StepInfo, *fitted: float | Tensor) -> Coefficients:
        return Coefficients(*fitted[:3])

    def scalar_fit(
        self, info: StepInfo, residuals: list[float], previous: tuple[float, ...] = ()
    ) -> tuple[float, ...]:
        u = np.full((1, 1), previous[-1] if previous else adaptive.pad_of(torch.float64))
        moments = quadrature.spectrum_moments((1 - np.array(residuals)) / u[0] ** 2, np)
        fitted = adaptive.fit_quintic(moments, u, info.step, info.steps, _scalar_tables(), np)
        return tuple(number.item() for number in fitted)

    def growth(self, info: StepInfo) -> float:
        return adaptive.steepest(info.steps - info.step)

    def gram_error(self) -> float:
        # What leaves (0, u²] grows by the steepest slopes.
        return 0.01


@dataclass(frozen=True)
class TableRule(Rule):
    """Fixed odd quintics x ← a x + b x³ + c x⁵, one row (a, b, c) a step, the last row repeated."""

    orders: tuple[int, ...] | None = (2,)
    degrees: tuple[int, ...] = (2,)
    table: tuple[tuple[float, float, float], ...] = ()

    def complete(self, info: StepInfo) -> Coefficients:
        a, b, c = self.table[min(info.step, len(self.table) - 1)]
        # x² = 1 - r turns a + b x² + c x⁴ into powers of the residual.
        return Coefficients(a + b + c, -b - 2 * c, c)


@dataclass(frozen=True)
class FrozenRule(Rule):
    """Another rule with the numbers that it fitted in an earlier run."""

    rule: Rule | None = None
    fitted: tuple[tuple[Tensor, ...], ...] = ()

    def fit(
        self, info: StepInfo, blocks: list[Tensor], previous: tuple[Tensor, ...] = (), constants: Any = None
    ) -> tuple[Tensor, ...]:
        return self.fitted[info.step]

    def complete(self, info: StepInfo, *fitted: float | Tensor) -> Coefficients:
        return self.rule.complete(info, *fitted)

    def growth(self, info: StepInfo) -> float:
        return self.rule.growth(info)

    def gram_error(self) -> float:
        return self.rule.gram_error()


def frozen(rule: Rule, fitted: list[tuple[Tensor, ...]]) -> FrozenRule:
    """The rule with its fit replaced by these numbers, a tuple for each step."""
    return FrozenRule(rule.name, rule.source, rule.scaling, rule.margin, rule=rule, fitted=tuple(fitted))


_JORDAN = ((3.4445, -4.7750, 2.0315),)

_YOU = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)

_POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115951949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845749493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
_CLASSICAL_QUINTIC = (1.875, -1.25, 0.375)


def _with_safety(table: tuple, safety: float) -> tuple:
    """Rows of a table for arguments enlarged by `safety`, so that rounding cannot leave its interval."""
    return tuple((a / safety, b / safety**3, c / safety**5) for a, b, c in table)


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        PrismRule("prism", "Yang et al., arXiv 2601.22137"),
        TaylorRule("taylor", "Higham, Functions of Matrices, ch. 5, 7, 8"),
        AdaptiveRule("adaptive", "this library, `_iteration/adaptive.py`"),
        TableRule(
            "polar_express",
            "Amsel et al., arXiv 2505.16932, singular values in [1e-3, 1]",
            scaling="frobenius",
            margin=1.01,
            table=(*_with_safety(_POLAR_EXPRESS, 1.01), _CLASSICAL_QUINTIC),
        ),
        TableRule(
            "jordan",
            "K. Jordan, Muon: an optimizer for hidden layers (2024); torch.optim.Muon",
            scaling="frobenius",
            table=_JORDAN,
        ),
        TableRule(
            "you",
            "J. You, coefficients published with modded-nanogpt (2025)",
            scaling="frobenius",
            table=_YOU,
        ),
    )
}
