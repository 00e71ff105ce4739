"""The options of optimizers: their checks, and those of a solve as one object."""

from math import inf
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._interface.arguments import DTYPES
from .._interface.numbers import check_integer, check_number
from .._interface.options import options_for
from .._rules import Row


class SolveOptions(NamedTuple):
    """The options of `polar`, and the dtype that it runs in (None: that of the direction)."""

    steps: int
    degree: int
    rule: str | tuple[Row, ...]
    sketch_size: int
    seed: int
    dtype: torch.dtype | None


def solve_options(group: dict[str, Any], steps: str) -> SolveOptions:
    """Those among checked options; steps: the name of theirs."""
    names = {name: group[name] for name in SolveOptions._fields if name != "steps"}
    return SolveOptions(steps=group[steps], **names)


def check_solve(group: dict[str, Any], steps: str) -> None:
    """Refuse options that `polar` does not take; the others become Python's. steps: the name of theirs."""
    group[steps] = check_integer(steps, group[steps], 1)
    checked = options_for(
        p=2,
        steps=group[steps],
        degree=group["degree"],
        rule=group["rule"],
        scaling=None,
        sketch_size=group["sketch_size"],
        seed=group["seed"],
        gradient="unrolled",
        history=False,
    )
    # Checkpoints hold Python's numbers, however they were given.
    group.update((name, getattr(checked, name)) for name in ("degree", "sketch_size", "seed"))
    if group["dtype"] is not None and group["dtype"] not in DTYPES:
        allowed = ", ".join(map(str, DTYPES))
        raise ValueError(f"dtype must be None or one of {allowed}, got {group['dtype']!r}")
    check_flag("flatten", group["flatten"])
    group["heads"] = check_integer("heads", group["heads"], 1)


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


def check_tensor(tensor: Tensor, name: str = "params") -> None:
    """Refuse tensors that have no real matrices."""
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be real and floating-point, got one of {tensor.dtype}")
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} must be dense, got one of layout {tensor.layout}")
