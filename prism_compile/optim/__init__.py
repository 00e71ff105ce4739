"""Optimizers that orthogonalise or precondition by the library's matrix functions."""

from .muon import Muon
from .orthogonaliser import Orthogonaliser
from .parameters import ParameterSplit, split_parameters
from .shampoo import Shampoo

__all__ = ["Muon", "Orthogonaliser", "ParameterSplit", "Shampoo", "split_parameters"]
