"""Optimizers that orthogonalise or precondition by the library's matrix functions."""

from .muon import Muon
from .muon_with_adamw import MuonWithAdamW
from .orthogonaliser import Orthogonaliser
from .parameters import ParameterSplit, split_parameters
from .shampoo import Shampoo

__all__ = ["Muon", "MuonWithAdamW", "Orthogonaliser", "ParameterSplit", "Shampoo", "split_parameters"]
