"""Matrix functions by PRISM iterations, written for compiled graphs.

Each part may import its own modules and the parts below it:

    optim                                         optimizers, users of what this package exports; lazy
    _planning                                     how many steps a function needs
    _polar  _sign  _square_root  _inverse_root    a function each: its form, signature and docstring
    _inverse  _pseudo_inverse_root
    _interface                                    options, the driver `run`, gradients, operators
    _rules                                        how the coefficients of a step are chosen
    _iteration                                    the loop, its polynomials, scaling; the contract of a rule
    _torch                                        what rests on torch's private names
"""

from ._interface.op import keep_ops
from ._interface.results import History, PolarFactors, SqrtPair
from ._inverse import inv
from ._inverse_root import inv_root
from ._planning import steps_for
from ._polar import polar, polar_factors
from ._pseudo_inverse_root import pinv_root
from ._sign import signm
from ._square_root import inv_sqrtm, sqrtm, sqrtm_pair

__version__ = "0.1.0"
__all__ = [
    "History",
    "PolarFactors",
    "SqrtPair",
    "inv",
    "inv_root",
    "inv_sqrtm",
    "keep_ops",
    "pinv_root",
    "polar",
    "polar_factors",
    "signm",
    "sqrtm",
    "sqrtm_pair",
    "steps_for",
]


def __getattr__(name: str) -> object:
    """`prism_compile.optim`, imported when it is first asked for."""
    if name == "optim":
        import importlib

        return importlib.import_module(f"{__name__}.optim")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "optim"})
