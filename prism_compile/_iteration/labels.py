"""Names of the function, step and phase at work, for profiles and for the nodes of compiled graphs.

Eagerly they are ranges of `torch.profiler`: `prism::polar` › `prism::step 2` › `prism::residual`. In a
compiled graph they are node metadata, `node.meta["custom"]`: `prism`, `prism_step` and `prism_phase`.
"""

from contextlib import AbstractContextManager

import torch
from torch.fx.traceback import annotate

PHASES = ("scaling", "inverse", "residual", "sketch", "moments", "fit", "update")


def _label(key: str, value: object, name: str) -> AbstractContextManager[object]:
    if torch.compiler.is_compiling():
        return annotate({key: value})
    # Unlike `record_function` this is no op, so that it leaves nothing in a graph that is traced meanwhile.
    return torch._C._profiler._RecordFunctionFast(f"prism::{name}")


def function(name: str) -> AbstractContextManager[object]:
    """The work of one of the library's functions."""
    return _label("prism", name, name)


def step(index: int) -> AbstractContextManager[object]:
    """The work of one step, counted from 0."""
    return _label("prism_step", index, f"step {index}")


def phase(name: str) -> AbstractContextManager[object]:
    """The work of one of `PHASES`."""
    return _label("prism_phase", name, name)
