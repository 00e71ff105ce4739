"""Muon's options: their checks, and what torch.optim.Muon can read of them."""

from typing import Any

from ..._interface.options import check_name, check_table
from ..._rules import jordan
from .._shared.checks import check_amount, check_flag, check_rate
from .._shared.settings import check_solve

_ADJUSTMENTS = ("original", "match_rms_adamw")
_JORDAN = jordan.RULE.table[0]
# What torch.optim.Muon's param groups do not have.
OWN_OPTIONS = ("rule", "degree", "sketch_size", "seed", "dtype", "flatten", "heads")


def check_group(group: dict[str, Any]) -> None:
    """Refuse a param group's options by name; numpy's numbers become Python's."""
    group["lr"] = check_rate(group["lr"])
    for name in ("momentum", "weight_decay", "eps"):
        group[name] = check_amount(name, group[name])
    check_flag("nesterov", group["nesterov"])
    if group["adjust_lr_fn"] is not None:
        check_name("adjust_lr_fn", group["adjust_lr_fn"], _ADJUSTMENTS)
    check_solve(group, "ns_steps")


def _default_rule(degree: int) -> str:
    """By `tools/train` the cheapest that ends at no higher loss; the tables are quintics."""
    return "polar_express" if degree == 2 else "prism"


def resolve_rule(group: dict[str, Any]) -> None:
    """Settle `rule`, and leave coefficients that torch.optim.Muon can read in the group.

    A table of one row is the same said by either; the rule of other tables and names is none of torch's.
    """
    given, rule = group.get("ns_coefficients"), group.get("rule")
    if given is not None:
        (given,) = check_table((tuple(given),), "ns_coefficients")
    if rule is None:
        other = "jordan" if given == _JORDAN else (given,)
        rule = _default_rule(group["degree"]) if given is None else other
    elif not isinstance(rule, str):
        rule = check_table(rule)
    row = rule[0] if not isinstance(rule, str) and len(rule) == 1 else _JORDAN
    if given not in (None, _JORDAN, row):
        raise ValueError(f"rule must be None where ns_coefficients are {given}, got {rule!r}")
    group["rule"], group["ns_coefficients"] = rule, row


def rate_factor(adjust_lr_fn: str | None, m: int, n: int) -> float:
    """The step size for a matrix `[m, n]` over the rate, as torch.optim.Muon's `adjust_lr_fn` has it."""
    factor: float = 0.2 * max(m, n) ** 0.5 if adjust_lr_fn == "match_rms_adamw" else max(1.0, m / n) ** 0.5
    return factor
