"""Optimizers that orthogonalise or precondition by the library's matrix functions."""

from ._muon import Muon
from ._shampoo import Shampoo
from ._shared.orthogonaliser import Orthogonaliser
from .parameters import ParameterSplit, split_parameters

__all__ = ["Muon", "Orthogonaliser", "ParameterSplit", "Shampoo", "split_parameters"]
