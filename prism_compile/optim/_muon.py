"""Muon with orthogonalisation by any rule of the library."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from .._interface.arguments import DTYPES
from .._interface.numbers import check_integer, plain
from .._interface.options import RuleLike, check_table, default_rule, options_for
from .._rules import jordan
from ._matrices import Update, matrices_of
from ._orthogonalise import Kind, Orthogonaliser, Settings, Source

_ADJUSTMENTS = (None, "original", "match_rms_adamw")
_JORDAN = jordan.RULE.table[0]
# What torch.optim.Muon's param groups do not have.
_OWN_OPTIONS = ("rule", "degree", "sketch_size", "seed", "dtype", "flatten", "heads")


def _check_amounts(group: dict[str, Any]) -> None:
    lr = group["lr"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(f"lr must have one element where it is a tensor, got shape {tuple(lr.shape)}")
    for name in ("lr", "momentum", "weight_decay", "eps"):
        group[name] = plain(group[name])
        if not group[name] >= 0:
            raise ValueError(f"{name} must be ≥ 0, got {group[name]}")
    if group["adjust_lr_fn"] not in _ADJUSTMENTS:
        allowed = ", ".join(map(repr, _ADJUSTMENTS))
        raise ValueError(f"adjust_lr_fn must be one of {allowed}, got {group['adjust_lr_fn']!r}")


def _check_orthogonalisation(group: dict[str, Any]) -> None:
    group["ns_steps"] = check_integer("ns_steps", group["ns_steps"], 1)
    options = options_for(
        2,
        group["ns_steps"],
        group["degree"],
        group["rule"],
        None,
        group["sketch_size"],
        group["seed"],
        "unrolled",
        False,
    )
    # Checkpoints hold Python's numbers, whatever was given.
    group.update((name, getattr(options, name)) for name in ("degree", "sketch_size", "seed"))
    if group["dtype"] is not None and group["dtype"] not in DTYPES:
        allowed = ", ".join(map(str, DTYPES))
        raise ValueError(f"dtype must be None or one of {allowed}, got {group['dtype']!r}")
    if not isinstance(group["flatten"], bool):
        raise TypeError(f"flatten must be True or False, got {group['flatten']!r}")
    group["heads"] = check_integer("heads", group["heads"], 1)


def _resolve_rule(group: dict[str, Any]) -> None:
    """Settle `rule`, and leave coefficients that torch.optim.Muon can read in the group.

    A table of one row is the same said by either; the rule of other tables and names is none of torch's.
    """
    given, rule = group.get("ns_coefficients"), group.get("rule")
    if given is not None:
        (given,) = check_table((tuple(given),), "ns_coefficients")
    if rule is None:
        other = "jordan" if given == _JORDAN else (given,)
        rule = default_rule(group["degree"]) if given is None else other
    elif not isinstance(rule, str):
        rule = check_table(rule)
    row = rule[0] if not isinstance(rule, str) and len(rule) == 1 else _JORDAN
    if given not in (None, _JORDAN, row):
        raise ValueError(f"rule must be None where ns_coefficients are {given}, got {rule!r}")
    group["rule"], group["ns_coefficients"] = rule, row


def _adjusted(lr: float, adjust_lr_fn: str | None, m: int, n: int) -> float:
    """The step size for a matrix `[m, n]`, as torch.optim.Muon's `adjust_lr_fn` has it."""
    if adjust_lr_fn == "match_rms_adamw":
        return float(lr * 0.2 * max(m, n) ** 0.5)
    return float(lr * max(1.0, m / n) ** 0.5)


def _with_gradient(params: list[Tensor]) -> list[Tensor]:
    """The parameters that a step concerns; raises RuntimeError where torch.optim.Muon does."""
    found = [param for param in params if param.grad is not None and param.numel() > 0]
    for param in found:
        if torch.is_complex(param):
            raise RuntimeError("Muon does not support complex parameters")
        if param.grad is not None and param.grad.is_sparse:
            raise RuntimeError("Muon does not support sparse gradients")
    return found


def _is_sharded(param: Tensor) -> bool:
    """Whether it is a DTensor, without the import of torch.distributed that the type would take."""
    return hasattr(param, "device_mesh")


class Muon(Optimizer):
    """Muon: momentum whose matrices are orthogonalised, a drop-in for `torch.optim.Muon`.

    With gradient G, momentum μ, learning rate γ and weight decay λ:
        B ← μB + (1 - μ)G,  D = (1 - μ)G + μB (Nesterov) or B,  W ← (1 - γλ)W - γ s(m, n) polar(D),
    s(m, n) = √max(1, m/n), or 0.2 √max(m, n) with `adjust_lr_fn="match_rms_adamw"`.

    Matrices of equal shape (or of transposed shape) and dtype are solved in one call of `polar`, compiled
    once for each such batch and kept by the optimiser.

    Args:
        params: parameters, named parameters or param groups, as for any optimiser of torch; each of at
            least two dimensions. FSDP2's (DTensor) are gathered, solved and returned in shares.
        lr, weight_decay, momentum, nesterov: γ (a number, or a tensor of one element), λ, μ, the choice of D.
        ns_coefficients: None, or the quintic's (a, b, c), as in `torch.optim.Muon`: the same as
            `rule=[(a, b, c)]`, and torch's default (3.4445, -4.775, 2.0315) as `rule="jordan"`, which `rule`
            may overrule.
        eps: not used, kept for the same reason. torch's eps bounds the norm that a matrix is divided by, so
            that gradients below 1e-7 lose their step; here a solve does not depend on the scale, and a zero
            matrix gives a zero step.
        ns_steps: number of iterations, ≥ 1.
        adjust_lr_fn: None or "original", or "match_rms_adamw".
        rule, degree, sketch_size, seed: see `polar`. `rule=None` is the default there, or what
            `ns_coefficients` says: at equal rates `tools/train` ends lowest with it, at 4 steps.
        dtype: the dtype of the iteration; None for the gradient's own.
        flatten: read `[out, ...]`, a convolution's weight, as the matrix `[out, rest]`. With False leading
            dimensions are a batch of matrices `[..., m, n]`: experts, or heads.
        heads: number of matrices of equal height that each matrix stacks by rows; 3 for a fused `[3m, n]`
            query, key and value.
        compile: True, False for eager solves, or keyword arguments of `torch.compile`, such as
            `{"mode": "max-autotune-no-cudagraphs"}`. A new number of matrices, where gradients are missing,
            may take another graph; the batch is then filled with zeros up to twice over to avoid it.

    All options from `lr` to `heads` may differ by param group. `state_dict` has the layout of torch's, whose
    checkpoints load: options that they lack stay as they are, but for a rule that is "jordan" or a table,
    which becomes that of the checkpoint's coefficients. torch loads ours too, and runs its own iteration.

    Raises:
        TypeError, ValueError: naming the argument, what it was and what is allowed.
        RuntimeError: in `step`, for complex parameters and sparse gradients. A NaN or infinite gradient makes
            its own parameter NaN and no other, as in torch.

    Cost: that of `polar` for each matrix; memory for one copy of the largest batch, and its solve.

    Source: K. Jordan, Muon (2024); Liu et al., arXiv 2502.16982 (`match_rms_adamw`); `torch.optim.Muon`.

    Example:
        >>> import torch
        >>> from prism_compile.optim import Muon, split_parameters
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
        >>> matrices, rest = split_parameters(model)
        >>> optimisers = [Muon(matrices, lr=0.02, compile=False), torch.optim.AdamW(rest)]
        >>> model(torch.randn(4, 8)).square().mean().backward()
        >>> for optimiser in optimisers:
        ...     optimiser.step()
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] | None = None,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        *,
        rule: RuleLike = None,
        degree: int = 2,
        sketch_size: int = 8,
        seed: int = 0,
        dtype: torch.dtype | None = torch.bfloat16,
        flatten: bool = True,
        heads: int = 1,
        compile: bool | dict[str, Any] = True,
    ):
        if not isinstance(compile, (bool, dict)):
            raise TypeError(f"compile must be True, False or a dict for torch.compile, got {compile!r}")
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
            "rule": rule,
            "degree": degree,
            "sketch_size": sketch_size,
            "seed": seed,
            "dtype": dtype,
            "flatten": flatten,
            "heads": heads,
        }
        _resolve_rule(defaults)
        _check_amounts(defaults)
        _check_orthogonalisation(defaults)
        self._set_compile(compile)
        super().__init__(params, defaults)

    def _set_compile(self, compile: bool | dict[str, Any]) -> None:
        self._compile = compile
        options = compile if isinstance(compile, dict) else {}
        self._orthogonalise = Orthogonaliser(None if compile is False else options)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_compile": self._compile}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Also where `load_state_dict` ends, with groups that may be torch.optim.Muon's.
        for own, loaded in zip(self.__dict__.get("param_groups", ()), state["param_groups"]):
            if "rule" not in loaded and (own["rule"] == "jordan" or not isinstance(own["rule"], str)):
                _resolve_rule(loaded)
            for name in _OWN_OPTIONS:
                loaded.setdefault(name, own[name])
        super().__setstate__(state)
        # Graphs are neither copied nor pickled.
        if "_compile" in state:
            self._set_compile(state["_compile"])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; see `torch.optim.Optimizer.add_param_group`."""
        if isinstance(param_group, dict):
            param_group = dict(param_group)
            if "rule" in param_group or "ns_coefficients" in param_group:
                _resolve_rule(param_group)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            _check_amounts(group)
            _check_orthogonalisation(group)
            for param in group["params"]:
                matrices_of(param.shape, group["flatten"], group["heads"])
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns the closure's loss, evaluated with gradients, or None."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._step()
        return loss

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch's
    def _step(self) -> None:
        whole: dict[Kind, list[Update]] = {}
        sharded: dict[Kind, list[Update]] = {}
        # Refuse before anything is changed.
        stepping = [(group, _with_gradient(group["params"])) for group in self.param_groups]
        for group, params in stepping:
            settings = Settings(group["ns_steps"], *(group[name] for name in Settings._fields[1:]))
            for update in self._updates(group, params):
                kind = Kind(settings, update.matrices.tall, update.grad.dtype, update.grad.device)
                by_kind = sharded if _is_sharded(update.param) else whole
                by_kind.setdefault(kind, []).append(update)
        if sharded:
            from ._distributed import step_sharded

            step_sharded(self._orthogonalise, sharded, whole)
        for kind, updates in whole.items():
            sources = [Source(update.matrices.count, update.write_direction) for update in updates]
            for update, stack in zip(updates, self._orthogonalise(kind, sources)):
                update.apply(update.matrices.restore(stack))

    def _updates(self, group: dict[str, Any], params: list[Tensor]) -> Iterator[Update]:
        """Advance the momentum of a group's parameters."""
        lr, momentum = group["lr"], group["momentum"]
        lr = lr.item() if isinstance(lr, Tensor) else lr
        for param in params:
            assert param.grad is not None
            state = self.state[param]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(param.grad, memory_format=torch.preserve_format)
            matrices = matrices_of(param.shape, group["flatten"], group["heads"])
            yield Update(
                param,
                param.grad,
                state["momentum_buffer"].lerp_(param.grad, 1 - momentum),
                momentum if group["nesterov"] else None,
                matrices,
                1 - lr * group["weight_decay"],
                _adjusted(lr, group["adjust_lr_fn"], matrices.m, matrices.n),
            )
