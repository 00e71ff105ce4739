"""Shampoo: its options and its step."""

from .optimizer import Shampoo

__all__ = ["Shampoo"]
