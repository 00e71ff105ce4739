"""Optimisers that orthogonalise or precondition by the library's matrix functions."""

from ._muon import Muon
from ._parameters import ParameterSplit, split_parameters
from ._shampoo import Shampoo

__all__ = ["Muon", "ParameterSplit", "Shampoo", "split_parameters"]
