"""One optimizer for a whole model: Muon for its matrices, AdamW for the rest."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from ._optimizer import evaluated, load_as_torch
from .muon import Muon
from .parameters import ParameterSplit, split_parameters


class MuonWithAdamW(Optimizer):
    """Muon for matrices and AdamW for all else, as one optimizer: one state, one scheduler, one checkpoint.

    Each param group has `use_muon`, True or False, and the options of `Muon` or of `torch.optim.AdamW`.

    Args:
        params: a model, whose parameters `split_parameters` divides; what it returns; or param groups, each
            with `use_muon`.
        lr, weight_decay: of all groups that have none of their own. With `adjust_lr_fn="match_rms_adamw"`,
            the default here, steps of matrices are as large as AdamW's, and one rate serves both.
        muon, adamw: further options of either, such as `{"ns_steps": 4}` or `{"betas": (0.9, 0.95)}`, their
            own `lr` and `weight_decay` among them.
        compile, process_group: see `Muon`.

    A step is that of `Muon` and that of `torch.optim.AdamW` on the same gradients, to the bit.

    Raises TypeError or ValueError, naming the argument, what it was and what is allowed.

    Example:
        >>> import torch
        >>> from prism_compile.optim import MuonWithAdamW
        >>> model = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(3)))
        >>> optimizer = MuonWithAdamW(model, lr=1e-3, compile=False)
        >>> scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
        >>> model(torch.randn(4, 8)).square().mean().backward()
        >>> optimizer.step()
        >>> scheduler.step()
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        *,
        muon: dict[str, Any] | None = None,
        adamw: dict[str, Any] | None = None,
        compile: bool | dict[str, Any] = True,
        process_group: Any = None,
    ):
        common = {"lr": lr, "weight_decay": weight_decay}
        own = {"compile": compile, "process_group": process_group, "adjust_lr_fn": "match_rms_adamw"}
        # The options that each part is made with when its first group comes, and the parts, by `use_muon`.
        self._options = {
            True: {**common, **own, **_checked("muon", muon)},
            False: {**common, **_checked("adamw", adamw)},
        }
        self._parts: dict[bool, Optimizer] = {}
        super().__init__(_groups(params), common)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group with `use_muon`; see `torch.optim.Optimizer.add_param_group`."""
        use_muon = param_group.get("use_muon") if isinstance(param_group, dict) else None
        if not isinstance(use_muon, bool):
            raise TypeError(f"use_muon must be True or False in each param group, got {use_muon!r}")
        self._link()
        if use_muon in self._parts:
            self._parts[use_muon].add_param_group(dict(param_group))
        else:
            kind = Muon if use_muon else AdamW
            self._parts[use_muon] = kind([dict(param_group)], **self._options[use_muon])
        added = self._parts[use_muon].param_groups
        seen = {param for group in self.param_groups for param in group["params"]}
        if not seen.isdisjoint(added[-1]["params"]):
            added.pop()
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(added[-1])

    def _link(self) -> None:
        """Let the parts have the groups and the state of this optimizer, of which they are views."""
        for use_muon, part in self._parts.items():
            part.param_groups = [group for group in self.param_groups if group["use_muon"] is use_muon]
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns the loss of a closure."""
        loss = evaluated(closure)
        self._link()
        for part in self._parts.values():
            part.step()
        return loss

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_options": self._options, "_parts": self._parts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, each part of it as the part's own optimizer does."""
        uses = [group["use_muon"] for group in self.param_groups]
        saved = [group.get("use_muon") for group in state_dict["param_groups"]]
        if saved != uses:
            raise ValueError(f"state_dict must have param groups with use_muon = {uses}, got {saved}")
        final = load_as_torch(self, state_dict)
        self._link()
        for use_muon, part in self._parts.items():
            groups = [group for group in final["param_groups"] if group["use_muon"] is use_muon]
            numbers = {number for group in groups for number in group["params"]}
            state = {number: each for number, each in final["state"].items() if number in numbers}
            part.load_state_dict({"state": state, "param_groups": groups})
            self.state.update(part.state)
        loaded = {use_muon: iter(part.param_groups) for use_muon, part in self._parts.items()}
        self.param_groups = [next(loaded[use_muon]) for use_muon in uses]


def _checked(name: str, options: Any) -> dict[str, Any]:
    if not isinstance(options, dict | None):
        raise TypeError(f"{name} must be a dict of options or None, got {options!r}")
    return options or {}


def _groups(params: Any) -> Any:
    """Param groups of a model or of its split; anything else is param groups already."""
    split = split_parameters(params) if isinstance(params, nn.Module) else params
    if not isinstance(split, ParameterSplit):
        return params
    parts = ((True, split.matrices), (False, split.rest))
    return [{**group, "use_muon": use_muon} for use_muon, groups in parts for group in groups]
