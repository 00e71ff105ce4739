"""The rules by name, a row for each room of this folder."""

from . import adaptive, jordan, polar_express, prism, taylor, you
from .newton import mixture
from .rule import Rule, frozen

RULES: dict[str, Rule] = {
    module.RULE.name: module.RULE for module in (prism, taylor, adaptive, polar_express, jordan, you)
}

__all__ = ["RULES", "Rule", "frozen", "mixture"]
