"""The options of optimizers: one check for each, and those of a solve as one object."""

from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from inspect import signature
from math import inf
from typing import Any, NamedTuple, cast

import numpy
import torch
from torch import Tensor

from .. import polar
from .._interface.numbers import check_integer, check_number
from .._interface.options import RuleLike, check_name, check_table
from .._iteration.scaling import magnitude, nonzero

# A check takes the name of an option and a value; it refuses the value or returns it as Python's, for
# checkpoints hold Python's numbers, however they were given.
Check = Callable[[str, Any], Any]

# torch.optim.Muon's own, by K. Jordan; `rule="jordan"`.
_JORDAN = (3.4445, -4.7750, 2.0315)
# Options of torch's optimizers that ours do not have.
_FOREIGN = (
    *("amsgrad", "betas", "capturable", "dampening", "differentiable"),
    *("foreach", "fused", "maximize", "momentum"),
)
_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Arguments of an optimizer that its param groups do not have of their own.
OF_ALL_GROUPS = ("compile", "process_group", "shard_state")


def group_defaults(arguments: dict[str, Any]) -> dict[str, Any]:
    """The options of param groups among the `locals()` of an optimizer's `__init__`."""
    others = ("self", "__class__", "params", *OF_ALL_GROUPS)
    return {name: value for name, value in arguments.items() if name not in others}


def check_options(group: dict[str, Any], checks: Mapping[str, Check]) -> None:
    for name, check in checks.items():
        group[name] = check(name, group[name])


def integer(lowest: int) -> Check:
    return lambda name, value: check_integer(name, value, lowest)


def choice(*allowed: str) -> Check:
    return lambda name, value: check_name(name, value, allowed)


def optional(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


def amount(name: str, value: object, above_zero: bool = False) -> float:
    """A finite number ≥ 0, or > 0."""
    allowed = "> 0" if above_zero else "≥ 0"
    number = check_number(name, value, allowed)
    if not 0 <= number < inf or (above_zero and number == 0):
        raise ValueError(f"{name} must be finite and {allowed}, got {number}")
    return number


def decay(name: str, value: object, up_to_one: bool = False, or_none: bool = False) -> float | None:
    """A number in [0, 1), or [0, 1]."""
    if value is None and or_none:
        return None
    number = amount(name, value)
    if number > 1 or (number == 1 and not up_to_one):
        allowed = f"{'None or ' if or_none else ''}in [0, 1{']' if up_to_one else ')'}"
        raise ValueError(f"{name} must be {allowed}, got {number}")
    return number


def rate(name: str, value: object) -> float | Tensor:
    """A learning rate: a number ≥ 0, or a tensor of one element, which is not read."""
    if not isinstance(value, Tensor):
        return amount(name, value)
    if value.numel() != 1:
        raise ValueError(f"{name} must have one element where it is a tensor, got shape {tuple(value.shape)}")
    return value


def flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r} of type {type(value).__name__}")
    return value


def betas(name: str, value: object) -> tuple[float | None, ...]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name} must be a pair of numbers, got {value!r} of type {type(value).__name__}")
    return tuple(decay(f"{name}[{i}]", beta, up_to_one=i == 1) for i, beta in enumerate(value))


def _heads(name: str, value: Any) -> int | tuple[int, ...]:
    if isinstance(value, (tuple, list)) and value:
        return tuple(check_integer(f"{name}[{i}]", size, 1) for i, size in enumerate(value))
    return check_integer(name, value, 1)


def matrix_dtype(name: str, value: object) -> object:
    """None or a dtype of matrices."""
    if value is not None and value not in _DTYPES:
        raise ValueError(f"{name} must be None or one of {', '.join(map(str, _DTYPES))}, got {value!r}")
    return value


SOLVE: dict[str, Check] = {
    **{"degree": integer(1), "sketch_size": integer(1), "seed": integer(0)},
    **{"flatten": flag, "heads": _heads, "heads_by": choice("rows", "columns"), "dtype": matrix_dtype},
}


class SolveOptions(NamedTuple):
    """The options of `polar`, and the dtype that it runs in (None: that of the direction)."""

    steps: int
    degree: int
    rule: RuleLike
    sketch_size: int
    seed: int
    dtype: torch.dtype | None


def solve_options(group: dict[str, Any], steps: str) -> SolveOptions:
    """The solve's among checked options; steps: what the option is called."""
    return SolveOptions(group[steps], *(group[name] for name in SolveOptions._fields[1:]))


@lru_cache(64)
def check_solve(options: SolveOptions) -> None:
    """Let `polar` refuse by name what it does not take, on a matrix without entries."""
    solve(torch.empty(1, 2, 2, device="meta"), options._replace(steps=1))


def solve(stack: Tensor, options: SolveOptions) -> Tensor:
    """The polar factors of a stack of matrices."""
    if options.dtype not in (None, stack.dtype):
        # Rounding to half precision must not lose the direction of a matrix of small entries.
        stack = (stack / nonzero(magnitude(stack))).to(options.dtype)
    arguments: dict[str, Any] = dict(zip(SolveOptions._fields[:-1], options))
    return cast(Tensor, polar(stack, **arguments))


def rule(name: str, value: object) -> str | tuple[tuple[float, float, float], ...] | None:
    """A name, None, or a table, which becomes tuples of Python's numbers."""
    if value is None or isinstance(value, str):
        return value
    return check_table(_sequence(name, value, "None, a name or the rows (a, b, c) of a table"))


def resolve_rule(group: dict[str, Any]) -> None:
    """Settle Muon's `rule`, and leave coefficients that torch.optim.Muon can read in the group.

    A table of one row is the same said by either; the rule of other tables and names is none of torch's.
    """
    given = group.get("ns_coefficients")
    own: Any = rule("rule", group.get("rule"))
    if given is not None:
        row = tuple(_sequence("ns_coefficients", given, "None or (a, b, c)"))
        (given,) = check_table([row], "ns_coefficients")
    if own is None and given is None:
        # These are the cheapest in `tools/train` that end at no higher loss; the tables are quintics.
        own = "polar_express" if group["degree"] == 2 else "prism"
    elif own is None:
        own = "jordan" if given == _JORDAN else (given,)
    row = own[0] if not isinstance(own, str) and len(own) == 1 else _JORDAN
    if given not in (None, _JORDAN, row):
        raise ValueError(f"rule must be None where ns_coefficients are {given}, got {own!r}")
    group["rule"], group["ns_coefficients"] = own, row


def _sequence(name: str, value: Any, allowed: str) -> Any:
    if not isinstance(value, (Sequence, numpy.ndarray)):
        raise TypeError(f"{name} must be {allowed}, got {value!r} of type {type(value).__name__}")
    return value


def check_names(group: dict[str, Any], options: Collection[str]) -> None:
    """Refuse options of a param group that would be ignored: misspelt ones, and those of torch's optimizers.

    Other names pass, for trainers and schedulers keep notes in groups.
    """
    for name in group.keys() - options - {"params", "param_names"}:
        # A cutoff of 0.8 would take "max_momentum", a scheduler's note, for "momentum"; 0.9 lets "head" pass.
        close = get_close_matches(name, options, 1, 0.87)
        if close:
            raise ValueError(f"{name} is no option of a param group; its name may be {close[0]!r}")
        if name in _FOREIGN and group[name]:
            raise ValueError(f"{name} must be absent or False in a param group, got {group[name]!r}")


def check_compile(value: object) -> dict[str, Any] | None:
    """The keyword arguments for `torch.compile`; None for eager solves."""
    if not isinstance(value, (bool, dict)):
        raise TypeError(f"compile must be True, False or a dict for torch.compile, got {value!r}")
    allowed = signature(torch.compile).parameters.keys() - {"model"}
    for name in value if isinstance(value, dict) else ():
        if name not in allowed:
            raise ValueError(f"compile must have keys among {', '.join(sorted(allowed))}, got {name!r}")
    return value if isinstance(value, dict) else {} if value else None


def check_tensor(tensor: object, name: str = "params") -> None:
    """Refuse what is no tensor, and tensors that have no real matrices."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be tensors, got one of type {type(tensor).__name__}")
    if tensor.dtype not in _DTYPES:
        allowed = ", ".join(map(str, _DTYPES))
        raise TypeError(
            f"{name} must be real and floating-point, got one of {tensor.dtype}, not of {allowed}"
        )
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} must be dense, got one of layout {tensor.layout}")
