"""The rule "adaptive", see `rule.py`."""

from .rule import RULE

__all__ = ["RULE"]
