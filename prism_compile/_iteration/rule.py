"""The contract of a rule, how the coefficients of each step are chosen, and the options of a run.

An iteration asks its rule for coefficients and does not know which rule it is. What a rule may override:

| method         | says                                                                          |
|----------------|-------------------------------------------------------------------------------|
| `looks`        | whether its coefficients depend on A: it then reads R², in quintic steps      |
| `free_count`   | how many of a step's do                                                       |
| `margin`       | its source's factor on the bound of x^(1/p)                                   |
| `prepare`      | what all steps of a run read                                                  |
| `coefficients` | those of a step, from its basis and what was prepared                         |
| `complete`     | the same from those alone that depend on A, or from none                      |
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .basis import Basis, Coefficients
from .precision import real_dtype


class StepInfo(NamedTuple):
    """A step of a run; all of it is static.

    step, steps: of the polynomials alone; newton_steps: before these. dtype: of the matrices, or of the parts
    of complex ones. squared: as in `Form`. interval: the least x and the tolerance that `tol` and `condition`
    ask for. sketch_size, seed: of rules with a sketch.
    """

    step: int
    steps: int
    p: int
    degree: int
    dtype: torch.dtype
    squared: bool = True
    newton_steps: int = 0
    interval: tuple[float, float] | None = None
    sketch_size: int = 1
    seed: int = 0


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

    def looks(self, info: StepInfo) -> bool:
        """Whether the steps of this run depend on A."""
        return False

    def free_count(self, info: StepInfo) -> int:
        """How many of a step's coefficients depend on A."""
        return 0

    def margin(self) -> float:
        """A factor on the bound that A is scaled by."""
        return 1.0

    def prepare(self, info: StepInfo, residual: Tensor) -> Any:
        """What all steps of a run read, made once; for residuals of this size, dtype and device."""
        return None

    def coefficients(self, info: StepInfo, basis: Basis, prepared: Any) -> Coefficients:
        """A step's coefficients."""
        return self.complete(info)

    def complete(self, info: StepInfo, *free: Tensor) -> Coefficients:
        """All coefficients of a step, given those that depend on A."""
        raise NotImplementedError

    def mixture(self, step: int) -> Coefficients | None:
        """The coefficients of a step with an inverse, None where they are to be found."""
        return None

    def growth(self, info: StepInfo) -> float:
        """The most by which a step can enlarge a vanishing singular value: the largest possible g(1)."""
        return sum(map(float, self.complete(info)))

    def gram_error(self) -> float:
        """The largest error relative to σ_max² that propagating a Gram matrix may cause."""
        return 0.05


class Options(NamedTuple):
    """Static settings of a run, checked; `form`, `side` and `rotation` are of polar factors only.

    interval: the least x and the tolerance that `tol` and `condition` ask for. rtol: of pseudo-inverse roots.
    """

    p: int
    steps: int
    degree: int
    rule: Rule
    scaling: str
    sketch_size: int
    seed: int
    gradient: str
    history: bool
    form: str = "auto"
    side: str = "right"
    newton_steps: int = 0
    interval: tuple[float, float] | None = None
    rotation: bool = False
    rtol: float = 0.0


def step_info(options: Options, step: int, dtype: torch.dtype, squared: bool) -> StepInfo:
    """What a rule is told of a step."""
    first = options.newton_steps
    return StepInfo(
        step,
        options.steps - first,
        options.p,
        options.degree,
        real_dtype(dtype),
        squared,
        newton_steps=first,
        interval=options.interval,
        sketch_size=options.sketch_size,
        seed=options.seed,
    )


@dataclass(frozen=True)
class FrozenRule(Rule):
    """Another rule with the coefficients that it chose in an earlier run."""

    rule: Rule = field(kw_only=True)
    chosen: tuple[Coefficients, ...] = ()
    mixtures: tuple[Coefficients, ...] = ()

    def looks(self, info: StepInfo) -> bool:
        # Its R² is formed where the rule's is: the same run.
        return self.rule.looks(info)

    def margin(self) -> float:
        return self.rule.margin()

    def coefficients(self, info: StepInfo, basis: Basis, prepared: Any) -> Coefficients:
        return self.chosen[info.step]

    def mixture(self, step: int) -> Coefficients | None:
        return self.mixtures[step]

    def growth(self, info: StepInfo) -> float:
        return self.rule.growth(info)

    def gram_error(self) -> float:
        return self.rule.gram_error()


def frozen(rule: Rule, chosen: list[Coefficients], newton_steps: int = 0) -> FrozenRule:
    """The rule with its choice replaced by these coefficients, of which the first are of Newton's steps."""
    mixtures, rest = tuple(chosen[:newton_steps]), tuple(chosen[newton_steps:])
    return FrozenRule(rule.name, rule.source, rule.scaling, rule=rule, chosen=rest, mixtures=mixtures)
