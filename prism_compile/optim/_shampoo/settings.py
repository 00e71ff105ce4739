"""Shampoo's options: their checks."""

from typing import Any

from ..._interface.numbers import check_integer
from ..._interface.options import check_name
from .._shared.checks import check_amount, check_rate
from .grafting import GRAFTS
from .roots import SOLVERS


def check_group(group: dict[str, Any]) -> None:
    """Refuse settings that the method is not defined for; numpy's numbers become Python's."""
    group["lr"] = check_rate(group["lr"])
    group["betas"] = tuple(check_amount(f"betas[{i}]", beta) for i, beta in enumerate(group["betas"]))
    for i, (beta, highest) in enumerate(zip(group["betas"], ("[0, 1)", "[0, 1]"))):
        if beta > 1 or (beta == 1 and i == 0):
            raise ValueError(f"betas[{i}] must be in {highest}, got {beta}")
    for name in ("eps", "grafting_eps"):
        group[name] = check_amount(name, group[name], above=True)
    group["weight_decay"] = check_amount("weight_decay", group["weight_decay"])
    for name in ("max_preconditioner_dim", "precondition_frequency", "p"):
        group[name] = check_integer(name, group[name], 1)
    group["start_step"] = check_integer("start_step", group["start_step"], 0)
    if group["steps"] is not None:
        group["steps"] = check_integer("steps", group["steps"], 1)
    check_name("grafting", group["grafting"], GRAFTS)
    check_name("solver", group["solver"], SOLVERS)
