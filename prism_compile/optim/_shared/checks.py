"""Checks of the options that optimizers have."""

from math import inf
from typing import Any

import torch
from torch import Tensor

from ..._interface.numbers import check_number


def check_amount(name: str, value: object, lowest: float = 0, *, above: bool = False) -> float:
    """The Python number; refuses what is not finite, or not ≥ (above: not >) the lowest."""
    allowed = f"{'>' if above else '≥'} {lowest}"
    number = check_number(name, value, allowed)
    if not (lowest < number if above else lowest <= number) or number == inf:
        raise ValueError(f"{name} must be finite and {allowed}, got {number}")
    return number


def check_rate(value: object) -> float | Tensor:
    """A learning rate: a number ≥ 0, or a tensor of one element, which is not read."""
    if not isinstance(value, Tensor):
        return check_amount("lr", value)
    if value.numel() != 1:
        raise ValueError(f"lr must have one element where it is a tensor, got shape {tuple(value.shape)}")
    return value


def check_flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r} of type {type(value).__name__}")
    return value


def check_compile(value: object) -> dict[str, Any] | None:
    """The keyword arguments for `torch.compile`; None for eager solves."""
    if not isinstance(value, (bool, dict)):
        raise TypeError(f"compile must be True, False or a dict for torch.compile, got {value!r}")
    return value if isinstance(value, dict) else {} if value else None


def check_parameter(param: Tensor, name: str = "params") -> None:
    """Refuse tensors that have no real matrices."""
    if not param.is_floating_point():
        raise TypeError(f"{name} must be real and floating-point, got one of {param.dtype}")
    if param.layout != torch.strided:
        raise TypeError(f"{name} must be dense, got one of layout {param.layout}")
