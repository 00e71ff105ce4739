"""Fixed odd quintics, one row a step: the rules that publish a table, and tables of the caller's."""

import hashlib
from dataclasses import dataclass
from types import ModuleType

from torch import Tensor

from .._iteration.basis import Coefficients
from .._iteration.rule import Rule, StepInfo
from .._torch import traced_constant

Row = tuple[float, float, float]
_RULES: dict[str, "TableRule"] = {}
# Rules of the caller's tables, by names that their numbers give.
_CUSTOM = ModuleType("prism_compile_custom_rules")


@dataclass(frozen=True)
class TableRule(Rule):
    """x ← a x + b x³ + c x⁵, one row (a, b, c) a step, the last repeated; safety: a factor on the bound."""

    orders: tuple[int, ...] | None = (2,)
    degrees: tuple[int, ...] = (2,)
    safety: float = 1.0
    table: tuple[Row, ...] = ()

    def __post_init__(self) -> None:
        _RULES[self.name] = self

    def margin(self) -> float:
        return table_margin(self.name)

    def complete(self, info: StepInfo, *free: Tensor) -> Coefficients:
        # A row is for the interval that the rows before it leave; that of as many Newton steps is narrower.
        return row_coefficients(self.name, info.newton_steps + info.step)


# Traced, these would be of floats that Dynamo makes symbols of under dynamic shapes: inputs of the graph that
# are on the CPU.
@traced_constant
def table_margin(name: str) -> float:
    """The factor on the bound of the rule of this name."""
    return _RULES[name].safety


@traced_constant
def row_coefficients(name: str, step: int) -> Coefficients:
    """x² = 1 - r turns a + b x² + c x⁴ into powers of the residual."""
    table = _RULES[name].table
    a, b, c = table[min(step, len(table) - 1)]
    return Coefficients(a + b + c, -b - 2 * c, c)


@traced_constant
def custom_name(table: tuple[Row, ...]) -> str:
    """The name of the rule of a table of the caller's, made at the first call; equal tables share it."""
    name = f"table_{hashlib.sha256(repr(table).encode()).hexdigest()[:16]}"
    setattr(_CUSTOM, name, TableRule(name, "the caller", scaling="frobenius", table=table))
    return name


def custom_rule(name: str) -> TableRule:
    """The rule of such a name."""
    found: TableRule = getattr(_CUSTOM, name)
    return found


_POLAR_EXPRESS_SAFETY = 1.01
_POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.9089021159629494, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)


def _with_safety(row: Row) -> Row:
    """A row for arguments enlarged by the safety factor, so that rounding cannot leave its interval."""
    a, b, c = row
    return a / _POLAR_EXPRESS_SAFETY, b / _POLAR_EXPRESS_SAFETY**3, c / _POLAR_EXPRESS_SAFETY**5


# For singular values in [1e-3, 1] the best in the worst case; with the classical step last.
POLAR_EXPRESS = TableRule(
    "polar_express",
    "Amsel et al., arXiv 2505.16932, singular values in [1e-3, 1]",
    scaling="frobenius",
    safety=_POLAR_EXPRESS_SAFETY,
    table=(*map(_with_safety, _POLAR_EXPRESS), (1.875, -1.25, 0.375)),
)
# Steep: it does not converge below a residual of about 0.2.
JORDAN = TableRule(
    "jordan",
    "K. Jordan, Muon: an optimizer for hidden layers (2024); torch.optim.Muon",
    scaling="frobenius",
    table=((3.4445, -4.7750, 2.0315),),
)
YOU = TableRule(
    "you",
    "J. You, coefficients published with modded-nanogpt (2025)",
    scaling="frobenius",
    table=(
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
)
