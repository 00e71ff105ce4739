"""Functions as compiled graphs."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor


def compiled(function: Callable, mode: str = "default", **options) -> Callable[[Tensor], object]:
    """The function with its options bound, as one static graph.

    The wrapper has a code object of its own: graphs are cached per code object, and one that is shared by
    many variants would be searched at every call.
    """

    def call(A: Tensor):
        return function(A, **options)

    call.__code__ = call.__code__.replace()
    return torch.compile(call, fullgraph=True, dynamic=False, mode=None if mode == "default" else mode)


def quiet_torch() -> None:
    """Let torch's own deprecations, raised while it compiles, pass in silence."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", module="torch")
