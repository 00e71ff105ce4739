"""The rules by name: how the coefficients of a step are chosen."""

from .._iteration.rule import Rule
from .adaptive import ADAPTIVE
from .minimax import MINIMAX
from .prism import PRISM
from .tables import JORDAN, POLAR_EXPRESS, YOU, Row, custom_name, custom_rule
from .taylor import TAYLOR

RULES: dict[str, Rule] = {
    rule.name: rule for rule in (PRISM, TAYLOR, ADAPTIVE, MINIMAX, POLAR_EXPRESS, JORDAN, YOU)
}


def rule_named(name: str) -> Rule:
    """A rule of this library, or of a table that was named by `custom_name`."""
    return RULES[name] if name in RULES else custom_rule(name)


__all__ = ["RULES", "Row", "custom_name", "rule_named"]
