"""The options of optimizers: their checks, and those of a solve as one object."""

from collections.abc import Collection, Sequence
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

Row = tuple[float, float, float]

# torch.optim.Muon's own, by K. Jordan; `rule="jordan"`.
_JORDAN = (3.4445, -4.7750, 2.0315)
# Options of torch's optimizers that ours do not have.
_FOREIGN = (
    *("amsgrad", "betas", "capturable", "dampening", "differentiable"),
    *("foreach", "fused", "maximize", "momentum"),
)
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
    U = polar(
        stack,
        steps=options.steps,
        degree=options.degree,
        rule=options.rule,
        sketch_size=options.sketch_size,
        seed=options.seed,
    )
    return cast(Tensor, U)


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
    for name, lowest in ((steps, 1), ("degree", 1), ("sketch_size", 1), ("seed", 0)):
        group[name] = check_integer(name, group[name], lowest)
    check_flag("flatten", group["flatten"])
    heads = group["heads"]
    if isinstance(heads, (tuple, list)) and heads:
        group["heads"] = tuple(check_integer(f"heads[{i}]", size, 1) for i, size in enumerate(heads))
    else:
        group["heads"] = check_integer("heads", heads, 1)
    check_name("heads_by", group["heads_by"], ("rows", "columns"))
    check_dtype("dtype", group["dtype"])
    _try(solve_options(group, steps)._replace(steps=1))


def check_dtype(name: str, value: object) -> None:
    if value is not None and value not in _DTYPES:
        raise ValueError(f"{name} must be None or one of {', '.join(map(str, _DTYPES))}, got {value!r}")


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
    allowed = signature(torch.compile).parameters.keys() - {"model"}
    for name in value if isinstance(value, dict) else ():
        if name not in allowed:
            raise ValueError(f"compile must have keys among {', '.join(sorted(allowed))}, got {name!r}")
    return value if isinstance(value, dict) else {} if value else None


def check_pair(name: str, value: object) -> tuple[object, object]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name} must be a pair of numbers, got {value!r} of type {type(value).__name__}")
    return value[0], value[1]


def check_rule_like(value: object) -> str | tuple[Row, ...] | None:
    """A rule as an option: a name, None, or a table, which becomes tuples of Python's numbers."""
    if value is None or isinstance(value, str):
        return value
    return check_table(_iterable("rule", value, "None, a name or the rows (a, b, c) of a table"))


def resolve_rule(group: dict[str, Any]) -> None:
    """Settle Muon's `rule`, and leave coefficients that torch.optim.Muon can read in the group.

    A table of one row is the same said by either; the rule of other tables and names is none of torch's.
    """
    given = group.get("ns_coefficients")
    rule: Any = check_rule_like(group.get("rule"))
    if given is not None:
        row = tuple(_iterable("ns_coefficients", given, "None or (a, b, c)"))
        (given,) = check_table([row], "ns_coefficients")
    if rule is None and given is None:
        # By `tools/train` the cheapest that ends at no higher loss; the tables are quintics.
        rule = "polar_express" if group["degree"] == 2 else "prism"
    elif rule is None:
        rule = "jordan" if given == _JORDAN else (given,)
    row = rule[0] if not isinstance(rule, str) and len(rule) == 1 else _JORDAN
    if given not in (None, _JORDAN, row):
        raise ValueError(f"rule must be None where ns_coefficients are {given}, got {rule!r}")
    group["rule"], group["ns_coefficients"] = rule, row


def _iterable(name: str, value: Any, allowed: str) -> Any:
    if not isinstance(value, (Sequence, numpy.ndarray)):
        raise TypeError(f"{name} must be {allowed}, got {value!r} of type {type(value).__name__}")
    return value


def check_names(group: dict[str, Any], options: Collection[str]) -> None:
    """Refuse options of a param group that would be ignored: misspelt ones, and those of torch's optimizers.

    Other names pass, for trainers and schedulers keep notes in groups.
    """
    for name in group.keys() - options - {"params", "param_names"}:
        # At 0.8 "max_momentum", a scheduler's note, would be taken for "momentum"; at 0.9 "head" passes.
        close = get_close_matches(name, options, 1, 0.87)
        if close:
            raise ValueError(f"{name} is no option of a param group; its name may be {close[0]!r}")
        if name in _FOREIGN and group[name]:
            raise ValueError(f"{name} must be absent or False in a param group, got {group[name]!r}")


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
