"""Checks of numbers, numpy's included."""

from numbers import Integral, Real
from operator import index
from typing import Any

import numpy
import torch


def plain(value: object) -> object:
    """A numpy number as Python's, anything else as it is."""
    if torch.compiler.is_dynamo_compiling():
        # It makes arrays without dimensions of numpy's numbers. Reading an int64 or a float64 guards on its
        # value, reading others breaks the graph; as a tensor one may be read twice.
        is_number = isinstance(value, numpy.ndarray) and value.ndim == 0
        return torch.as_tensor(value).item() if is_number else value
    return value.item() if isinstance(value, numpy.generic) else value


def plain_call(arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call with numpy's numbers as Python's."""
    return tuple(map(plain, arguments)), {name: plain(value) for name, value in options.items()}


def fixed(number: float) -> float:
    """The number, which shapes a graph, where Dynamo would make a symbol of it."""
    if not torch.compiler.is_dynamo_compiling():
        return number
    # Not above, for it takes half a second to import.
    from torch.fx.experimental.symbolic_shapes import guard_scalar

    return guard_scalar(number)


def check_integer(name: str, value: object, lowest: int) -> int:
    """The Python int; refuses what is no integer, a bool included, or below the lowest."""
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, Integral):
        raise TypeError(f"{name} must be an int ≥ {lowest}, got {value!r} of type {type(value).__name__}")
    if number < lowest:
        raise ValueError(f"{name} must be ≥ {lowest}, got {number}")
    # Options shape the graph: `index` makes Dynamo specialise on what it would trace as a symbol.
    return index(number)


def check_number(name: str, value: object, allowed: str = "") -> float:
    """The Python number; refuses what is no real number. `allowed` is what else the caller asks of it."""
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, Real):
        kind = f"a number {allowed}".rstrip()
        raise TypeError(f"{name} must be {kind}, got {value!r} of type {type(value).__name__}")
    return number if isinstance(number, (int, float)) else float(number)
