"""Fixed odd quintics, one row a step: the rules that publish a table, and tables of the caller's."""

import hashlib
from dataclasses import dataclass
from types import ModuleType

from torch import Tensor

from .._iteration.basis import Coefficients
from .._iteration.constants import traced_constant
from .._iteration.info import StepInfo
from .rule import Rule

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
