"""The contract of a rule: how the coefficients of each step's polynomial are chosen.

An iteration asks its rule for coefficients and does not know which rule it is. A rule is a file of this
folder with a class and one row in `RULES`. What it may override:

| method         | says                                                                          |
|----------------|-------------------------------------------------------------------------------|
| `shift`        | the basis its coefficients are for: Q = R² - shift·R; None: no Q is formed     |
| `probes`       | that it reads a probe                                                         |
| `margin`       | its source's factor on the bound of x^(1/p)                                   |
| `prepare`      | what every step reads, made once a run                                        |
| `start`        | what is carried from step to step                                             |
| `coefficients` | those of a step, from its probe and what was carried                          |
| `complete`     | the same from those alone that depend on A, `free_count` in number            |
| `newton`       | the coefficient of a step with an inverse, the same for all                   |
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from .._iteration.basis import Coefficients
from .._iteration.loop import StepInfo
from .._iteration.probe import Probe
from .newton import mixture, newton_coefficient


@dataclass(frozen=True)
class Rule:
    """Base of the rules.

    scaling: the scaling its source prescribes, used where the caller names none; orders, degrees: the p and
    degree it serves (None: any).
    """

    name: str
    source: str
    scaling: str = "schatten"
    orders: tuple[int, ...] | None = None
    degrees: tuple[int, ...] = (1, 2)
    # Whether it reads a probe.
    probes: ClassVar[bool] = False
    # How many coefficients of a step depend on A.
    free_count: ClassVar[int] = 0
    # Whether a step depends on how many are to follow.
    plans: ClassVar[bool] = False

    def shift(self, degree: int) -> float | None:
        """The basis, as in `Basis`; None where no Q is needed."""
        return None

    def margin(self) -> float:
        """A factor on the bound that A is scaled by."""
        return 1.0

    def prepare(self, info: StepInfo, residual: Tensor) -> Any:
        """What every step reads, for residuals of this dtype and device; only with a probe."""
        return None

    def start(self, residual: Tensor) -> Any:
        """What is carried into the first step."""
        return None

    def coefficients(
        self, info: StepInfo, probe: Probe | None, carry: Any, prepared: Any
    ) -> tuple[Coefficients, Any]:
        """A step's coefficients, and what is carried into the next."""
        return self.complete(info), None

    def complete(self, info: StepInfo, *free: Tensor) -> Coefficients:
        """All coefficients of a step, given those that depend on A."""
        raise NotImplementedError

    def newton(self, step: int, R: Tensor, D: Tensor, nu: Tensor) -> Coefficients:
        """Those of a step with an inverse, in the basis I, M⁻¹ - I; see `newton_coefficient`."""
        return mixture(newton_coefficient(R, D, nu))

    def bound(self, carry: Any, p: int) -> Tensor | None:
        """uᵖ `[b, 1, 1]` where the rule has the loop carry the state over a bound u; None: u = 1."""
        return None

    def growth(self, info: StepInfo) -> float:
        """The most by which a step can enlarge a vanishing singular value: the largest possible g(1)."""
        return sum(map(float, self.complete(info)))

    def gram_error(self) -> float:
        """The largest error relative to σ_max² that propagating a Gram matrix may cause."""
        return 0.05


@dataclass(frozen=True)
class FrozenRule(Rule):
    """Another rule with the coefficients that it chose in an earlier run."""

    rule: Rule = field(kw_only=True)
    chosen: tuple[Coefficients, ...] = ()
    mixtures: tuple[Coefficients, ...] = ()

    def shift(self, degree: int) -> float | None:
        return self.rule.shift(degree)

    def margin(self) -> float:
        return self.rule.margin()

    def coefficients(
        self, info: StepInfo, probe: Probe | None, carry: Any, prepared: Any
    ) -> tuple[Coefficients, Any]:
        return self.chosen[info.step], None

    def newton(self, step: int, R: Tensor, D: Tensor, nu: Tensor) -> Coefficients:
        return self.mixtures[step]

    def growth(self, info: StepInfo) -> float:
        return self.rule.growth(info)

    def gram_error(self) -> float:
        return self.rule.gram_error()


def frozen(rule: Rule, chosen: list[Coefficients], newton_steps: int = 0) -> FrozenRule:
    """The rule with its choice replaced by these coefficients, of which the first are of Newton's steps."""
    mixtures, rest = tuple(chosen[:newton_steps]), tuple(chosen[newton_steps:])
    return FrozenRule(rule.name, rule.source, rule.scaling, rule=rule, chosen=rest, mixtures=mixtures)
