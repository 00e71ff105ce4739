"""The rules by name, a row for each room of this folder."""

from . import adaptive, jordan, minimax, polar_express, prism, taylor, you
from .newton import mixture
from .rule import Rule, frozen
from .table import Row, custom_name, custom_rule

RULES: dict[str, Rule] = {
    module.RULE.name: module.RULE for module in (prism, taylor, adaptive, minimax, polar_express, jordan, you)
}


def rule_named(name: str) -> Rule:
    """A rule of this library, or of a table that was named by `custom_name`."""
    return RULES[name] if name in RULES else custom_rule(name)


__all__ = ["RULES", "Row", "Rule", "custom_name", "frozen", "mixture", "rule_named"]
