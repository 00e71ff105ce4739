"""Compiled functions whose graphs belong to their owner."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch


def compiled_apart(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    """`torch.compile(function, **options)`, static and whole by default, with a code object of its own.

    Dynamo keeps graphs, and counts them against its limits of 8 and 256, by code object: graphs of one
    optimizer are then none of another's.
    """
    own = FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
    return torch.compile(own, **{"fullgraph": True, "dynamic": False, **options})
