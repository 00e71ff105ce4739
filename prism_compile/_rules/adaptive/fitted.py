# Made by `tools/tune --iterations 20 --seed 0`; do not edit.
"""The fitted numbers of the rule "adaptive"."""

from .schedule import Fitted

FITTED = Fitted(
    hidden=14.2,
    short=2.0,
    focus=0.185,
    slope=0.0706,
)
