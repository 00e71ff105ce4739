"""The options of optimizers: their checks, and those of a solve as one object."""

from functools import lru_cache
from math import inf
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import polar
from .._interface.numbers import check_integer, check_number
from .._interface.options import RuleLike
from .._iteration.scaling import magnitude, nonzero

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Arguments of an optimizer that are no options of its param groups.
_NOT_OF_GROUPS = ("self", "__class__", "params", "compile", "process_group", "shard_state")


class SolveOptions(NamedTuple):
    """The options of `polar`, and the dtype that it runs in (None: that of the direction)."""

    steps: int
    degree: int
    rule: RuleLike
    sketch_size: int
    seed: int
    dtype: torch.dtype | None


def solve_options(group: dict[str, Any], steps: str) -> SolveOptions:
    """Those among checked options; steps: the name of theirs."""
    names = {name: group[name] for name in SolveOptions._fields if name != "steps"}
    return SolveOptions(steps=group[steps], **names)


def solve(stack: Tensor, options: SolveOptions) -> Tensor:
    """The polar factors of a stack of matrices."""
    if options.dtype not in (None, stack.dtype):
        # Rounding to half precision must not lose the direction of a matrix of small entries.
        stack = (stack / nonzero(magnitude(stack))).to(options.dtype)
    return polar(
        stack,
        steps=options.steps,
        degree=options.degree,
        rule=options.rule,
        sketch_size=options.sketch_size,
        seed=options.seed,
    )


def group_defaults(arguments: dict[str, Any]) -> dict[str, Any]:
    """The options of param groups among the `locals()` of an optimizer's `__init__`."""
    return {name: value for name, value in arguments.items() if name not in _NOT_OF_GROUPS}


@lru_cache(64)
def _try(options: SolveOptions) -> None:
    """Let `polar` refuse by name what it does not take, on a matrix without entries."""
    solve(torch.empty(1, 2, 2, device="meta"), options)


def check_solve(group: dict[str, Any], steps: str) -> None:
    """Refuse options that `polar` does not take; the others become Python's. steps: the name of theirs."""
    # Checkpoints hold Python's numbers, however they were given.
    for name, lowest in ((steps, 1), ("degree", 1), ("sketch_size", 1), ("seed", 0), ("heads", 1)):
        group[name] = check_integer(name, group[name], lowest)
    check_flag("flatten", group["flatten"])
    if group["dtype"] not in (None, *_DTYPES):
        allowed = ", ".join(map(str, _DTYPES))
        raise ValueError(f"dtype must be None or one of {allowed}, got {group['dtype']!r}")
    _try(solve_options(group, steps)._replace(steps=1))


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
