"""Matrix functions by PRISM iterations, written for compiled graphs."""

from ._inverse import inv
from ._planning import steps_for
from ._polar import polar, polar_factors
from ._registry import keep_ops
from ._results import History, PolarFactors, SqrtPair
from ._roots import inv_root, inv_sqrtm, sqrtm, sqrtm_pair
from ._sign import signm

__all__ = [
    "History",
    "PolarFactors",
    "SqrtPair",
    "inv",
    "inv_root",
    "inv_sqrtm",
    "keep_ops",
    "polar",
    "polar_factors",
    "signm",
    "sqrtm",
    "sqrtm_pair",
    "steps_for",
]
