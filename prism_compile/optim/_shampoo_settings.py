"""Checks of Shampoo's options."""

from typing import Any

from torch import Tensor

from .._interface.numbers import check_integer, check_number
from .._interface.options import check_name
from ._grafting import GRAFTS
from ._root_solvers import SOLVERS


def _check_number(name: str, value: object, lowest: float, *, open_below: bool = False) -> float:
    allowed = f"{'>' if open_below else '≥'} {lowest}"
    number = check_number(name, value, allowed)
    if not (lowest < number if open_below else lowest <= number) or number == float("inf"):
        raise ValueError(f"{name} must be finite and {allowed}, got {number}")
    return number


def check_group(group: dict[str, Any]) -> None:
    """Refuse settings and parameters that the method is not defined for; numpy's numbers become Python's."""
    if isinstance(group["lr"], Tensor):
        if group["lr"].numel() != 1:
            raise ValueError(f"lr must have one element, got shape {tuple(group['lr'].shape)}")
    else:
        group["lr"] = _check_number("lr", group["lr"], 0)
    group["betas"] = tuple(_check_number(f"betas[{i}]", beta, 0) for i, beta in enumerate(group["betas"]))
    for i, (beta, highest) in enumerate(zip(group["betas"], ("[0, 1)", "[0, 1]"))):
        if beta > 1 or (beta == 1 and i == 0):
            raise ValueError(f"betas[{i}] must be in {highest}, got {beta}")
    for name in ("eps", "grafting_eps"):
        group[name] = _check_number(name, group[name], 0, open_below=True)
    group["weight_decay"] = _check_number("weight_decay", group["weight_decay"], 0)
    for name in ("max_preconditioner_dim", "precondition_frequency", "p"):
        group[name] = check_integer(name, group[name], 1)
    group["start_step"] = check_integer("start_step", group["start_step"], 0)
    if group["steps"] is not None:
        group["steps"] = check_integer("steps", group["steps"], 1)
    check_name("grafting", group["grafting"], GRAFTS)
    check_name("solver", group["solver"], SOLVERS)
    for parameter in group["params"]:
        if not parameter.is_floating_point():
            raise TypeError(f"params must be real and floating-point, got one of {parameter.dtype}")
