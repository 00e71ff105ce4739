"""Muon with orthogonalisation by any rule of the library."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..._interface.options import RuleLike
from .._shared.batches import BatchSolver
from .._shared.directions import Direction, Job, SharedSolver, Subject, subject_of
from .._shared.layout import aligned, at_hand, local, shard_of
from .._shared.optimizer import MatrixOptimizer
from .._shared.settings import Settings, settings_of
from .settings import OWN_OPTIONS, check_group, rate_factor, resolve_rule


class Muon(MatrixOptimizer):
    """Muon: momentum whose matrices are orthogonalised, a drop-in for `torch.optim.Muon`.

    With gradient G, momentum μ, learning rate γ and weight decay λ:
        B ← μB + (1 - μ)G,  D = (1 - μ)G + μB (Nesterov) or B,  W ← (1 - γλ)W - γ s(m, n) polar(D),
    s(m, n) = √max(1, m/n), or 0.2 √max(m, n) with `adjust_lr_fn="match_rms_adamw"`.

    Matrices of equal shape (or of transposed shape) and dtype are solved in one call of `polar`, compiled
    once for each such batch and kept by the optimizer.

    Args:
        params: parameters, named parameters or param groups, as for any optimizer of torch; each of at
            least two dimensions. Those that FSDP2 shards (DTensor) are solved by one process each, to which
            the shards travel and from which they return; matrices that a shard holds whole (experts, heads)
            are solved where they are. Those cut in other ways (tensor parallel) are gathered by every
            process, which solves them all.
        lr, weight_decay, momentum, nesterov: γ (a number, or a tensor of one element), λ, μ, the choice of D.
        ns_coefficients: None, or the quintic's (a, b, c), as in `torch.optim.Muon`: the same as
            `rule=[(a, b, c)]`, and torch's default (3.4445, -4.775, 2.0315) as `rule="jordan"`, which `rule`
            may overrule.
        eps: not used, kept for the same reason. torch's eps bounds the norm that a matrix is divided by, so
            that gradients below 1e-7 lose their step; here a solve does not depend on the scale, and a zero
            matrix gives a zero step.
        ns_steps: number of iterations, ≥ 1.
        adjust_lr_fn: None or "original", or "match_rms_adamw".
        rule, degree, sketch_size, seed: see `polar`. `rule=None` is what `ns_coefficients` says, else
            "polar_express", for `degree=1` "prism": in `tools/train`, at one rate, it takes the least time of
            those that end no higher than torch's coefficients, with 4 steps as well as with 5. "adaptive" is
            closer to the polar factor after as many steps, which there lowers no loss.
        dtype: the dtype of the iteration; None for the gradient's own.
        flatten: read `[out, ...]`, a convolution's weight, as the matrix `[out, rest]`. With False leading
            dimensions are a batch of matrices `[..., m, n]`: experts, or heads.
        heads: number of matrices of equal height that each matrix stacks by rows; 3 for a fused `[3m, n]`
            query, key and value.
        compile: True, False for eager solves, or keyword arguments of `torch.compile`, such as
            `{"mode": "max-autotune-no-cudagraphs"}`. A new number of matrices, where gradients are missing,
            may take another graph; the batch is then filled with zeros up to twice over to avoid it.
        process_group: a group whose processes hold the same parameters (DDP; for hybrid sharding that of the
            mesh dimension that replicates) or the same shards of them, as a ProcessGroup or a DeviceMesh of
            one dimension. Each solves a share of the matrices, balanced by the cost of their products, and an
            all-gather brings the polar factors together. None: each solves them all. Its processes must have
            gradients for the same parameters.

    A compiled train step of the caller's takes `step` into its graph, where the optimizer is an argument or a
    closure's variable (of a global Dynamo makes constants) and no other process takes part: one graph for the
    first step and one for the others, whatever their rate.

    All options from `lr` to `heads` may differ by param group. `state_dict` has the layout of torch's, whose
    checkpoints load: options that they lack stay as they are, but for a rule that is "jordan" or a table,
    which becomes that of the checkpoint's coefficients. torch loads ours too, and runs its own iteration.

    Raises:
        TypeError, ValueError: naming the argument, what it was and what is allowed; also for parameters that
            are complex, of one dimension, or flattened by FullyShardedDataParallel.
        RuntimeError: in `step`, for sparse gradients. A NaN or infinite gradient makes
            its own parameter NaN and no other, as in torch.

    Cost: that of `polar` for each matrix; memory for one copy of the largest batch, and its solve. With W
    processes a W-th of the solves each, and memory for this process's directions and results.

    Source: K. Jordan, Muon (2024); Liu et al., arXiv 2502.16982 (`match_rms_adamw`); `torch.optim.Muon`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from prism_compile.optim import Muon, split_parameters
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.Linear(16, 2))
        >>> matrices, rest = split_parameters(model)
        >>> optimizers = [Muon(matrices, lr=0.02, compile=False), torch.optim.AdamW(rest)]
        >>> model(torch.randn(4, 8)).square().mean().backward()
        >>> for optimizer in optimizers:
        ...     optimizer.step()
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
        process_group: Any = None,
    ):
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
        resolve_rule(defaults)
        check_group(defaults)
        super().__init__(params, defaults, compile, process_group)

    def _set_compile(self, compile: bool | dict[str, Any]) -> None:
        super()._set_compile(compile)
        self._solve = SharedSolver(BatchSolver(self._compile_options))
        self._subjects: dict[Tensor, dict[tuple[bool, int], Subject]] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Also where `load_state_dict` ends, with groups that may be torch.optim.Muon's.
        for own, loaded in zip(self.__dict__.get("param_groups", ()), state["param_groups"]):
            if "rule" not in loaded and (own["rule"] == "jordan" or not isinstance(own["rule"], str)):
                resolve_rule(loaded)
            for name in OWN_OPTIONS:
                loaded.setdefault(name, own[name])
        super().__setstate__(state)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; see `torch.optim.Optimizer.add_param_group`."""
        if isinstance(param_group, dict) and not param_group.keys().isdisjoint(("rule", "ns_coefficients")):
            param_group = dict(param_group)
            resolve_rule(param_group)
        super().add_param_group(param_group)

    def _check_group(self, group: dict[str, Any]) -> None:
        check_group(group)
        for param in group["params"]:
            self._subject(group, param)

    def _subject(self, group: dict[str, Any], param: Tensor) -> Subject:
        # Not one key of all three, for Dynamo would compare the parameters by value.
        own = self._subjects.setdefault(param, {})
        key = group["flatten"], group["heads"]
        if key not in own:
            own[key] = subject_of(param, self._layout(param), *key)
        return own[key]

    def _share_out(self) -> None:
        self._solve.share_out(
            [
                self._subject(group, param)
                for group in self.param_groups
                for param in group["params"]
                if param.numel()
            ]
        )

    def _step(self) -> None:
        # Refuse before anything is changed.
        stepping = [(group, set(self._with_gradient(group))) for group in self.param_groups]
        jobs: list[Job] = []
        number = 0
        for group, active in stepping:
            settings = settings_of(group, "ns_steps")
            for param in filter(Tensor.numel, group["params"]):
                if param in active:
                    jobs.append(self._job(number, settings, group, param))
                number += 1
        # Options may have been changed by hand.
        self._share_out()
        self._solve(jobs)

    def _job(self, number: int, settings: Settings, group: dict[str, Any], param: Tensor) -> Job:
        """Advance a parameter's momentum; what is to be orthogonalised, and how the result is applied."""
        assert param.grad is not None
        layout, grad = self._layout(param), aligned(param.grad, param)
        state, momentum = self.state[param], group["momentum"]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(grad, memory_format=torch.preserve_format)
        buffer = state["momentum_buffer"].lerp_(grad, 1 - momentum)
        if layout.gathered:
            whole = grad.lerp(buffer, momentum) if group["nesterov"] else buffer
            direction = Direction(at_hand(whole, layout))
        elif group["nesterov"]:
            direction = Direction(local(buffer), local(grad), momentum)
        else:
            direction = Direction(local(buffer))
        matrices = self._subject(group, param).matrices
        lr = group["lr"]
        if isinstance(lr, Tensor) and not torch.compiler.is_compiling():
            lr = lr.item()
        step = lr * rate_factor(group["adjust_lr_fn"], matrices.m, matrices.n)
        decay = 1 - lr * group["weight_decay"]

        def apply(orthogonal: Tensor) -> None:
            shard = shard_of(orthogonal.reshape(direction.end.shape), param, layout)
            target = local(param).mul_(decay)
            if torch.compiler.is_compiling():
                # Of alpha's value a caller's graph would make a guard.
                target.sub_(shard * step)
            else:
                target.add_(shard, alpha=-step)

        return Job(number, settings, direction, apply)
