"""The front of each function: in an export it becomes one `torch.ops.prism.*` node."""

from collections.abc import Callable
from functools import wraps

import torch

from ._iteration.labels import function as label
from ._results import PolarFactors, SqrtPair

_RESULT_TYPES = {"polar_factors": PolarFactors, "sqrtm_pair": SqrtPair}


def exported_as_op(function: Callable) -> Callable:
    """Have `torch.export` record a call as the op of the same name.

    Everything else, `torch.compile` included, runs the function itself: traced through, its real body is
    part of the compile cache's key. A history is no output of the op, so such a call is inlined.
    """
    name = function.__name__
    result_type = _RESULT_TYPES.get(name)

    @wraps(function)
    def front(*arguments, **options):
        if torch.compiler.is_exporting() and not options.get("history", False):
            options.pop("history", None)
            result = getattr(torch.ops.prism, name)(*arguments, **options)
            return result if result_type is None else result_type(*result)
        with label(name):
            return function(*arguments, **options)

    return front
