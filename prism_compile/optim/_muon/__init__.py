"""Muon: its options and its step."""

from .optimizer import Muon

__all__ = ["Muon"]
