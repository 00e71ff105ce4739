# Made by `tools/tune --iterations 20 --seed 0`; do not edit.
"""The fitted numbers of the rule "adaptive"."""

from .schedule import Fitted

FITTED = Fitted(
    hidden=12.8,
    short=1.37,
    visible=0.00981,
    exact=1.39,
    sooner=0.00123,
    focus=0.185,
    slope=0.0706,
)
