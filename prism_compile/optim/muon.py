"""Muon with orthogonalisation by any rule of the library."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from .._interface.options import RuleLike
from . import _options as check
from ._normuon import SECOND_MOMENT, Apply, EvenRows
from ._optimizer import MatrixOptimizer, Stepping, apply_update
from ._options import group_defaults, resolve_rule, solve_options
from ._polar import BatchSolver, MatrixCut, matrix_cut, orthogonalise
from ._processes import Layout, aligned_gradient, local, working_part
from ._round import Request


class Muon(MatrixOptimizer):
    """Muon: momentum whose matrices are orthogonalised, a drop-in for `torch.optim.Muon`.

    With gradient G, momentum μ, learning rate γ and weight decay λ:
        B ← μB + (1 - μ)G,  D = (1 - μ)G + μB (Nesterov) or B,  W ← (1 - γλ)W - γ s(m, n) polar(D),
    s(m, n) = √max(1, m/n), or 0.2 √max(m, n) with `adjust_lr_fn="match_rms_adamw"`.

    Matrices of equal shape (or of transposed shape) and dtype are solved in one call of `polar`, compiled
    once for each such batch and kept by the optimizer.

    Args:
        params: parameters, named parameters or param groups, as for any optimizer of torch; each of at
            least two dimensions, in float64, float32, bfloat16 or float16. Each matrix that FSDP2 shards
            (DTensor) is solved by one process, to which its shards travel; matrices that a shard holds whole
            (experts, heads) are solved there. What is cut in other ways (tensor parallel) is gathered and
            solved by every process.
        lr, weight_decay, momentum, nesterov: γ (a number, or a tensor of one element), λ, μ, the choice of D.
        ns_coefficients: None, or the quintic's (a, b, c), as in `torch.optim.Muon`: the same as
            `rule=[(a, b, c)]`, and torch's default (3.4445, -4.775, 2.0315) as `rule="jordan"`, which `rule`
            may overrule.
        eps: not used, for a solve does not depend on the gradient's scale. torch divides by at least its eps,
            so that gradients below 1e-7 lose their step.
        ns_steps: number of iterations, ≥ 1.
        adjust_lr_fn: None or "original", or "match_rms_adamw".
        rule, degree, sketch_size, seed: see `polar`. `rule=None` is what `ns_coefficients` says, else
            "polar_express", for `degree=1` "prism": of the library's rules it ends lowest in `tools/train` at
            one rate and 5 steps, by less than seeds differ. "minimax" leaves half as much noise outside the
            column space of a gradient of low rank.
        dtype: the dtype of the iteration; None for the gradient's own.
        flatten: read `[out, ...]`, a convolution's weight, as the matrix `[out, rest]`. With False leading
            dimensions are a batch of matrices `[..., m, n]`: experts, or heads.
        heads, heads_by: the number of matrices of equal height that each matrix stacks (3 for a fused
            `[3m, n]` query, key and value), or the height of each (grouped `[q, k, v]`, gated `[gate, up]`);
            with `heads_by="columns"` their number or widths side by side, as in an output projection.
        momentum_dtype: the dtype that momentum is kept in, such as torch.bfloat16; None for the gradient's.
        beta2: NorMuon's: the decay, in [0, 1), of the mean square of each row of the updates. Each row is
            divided by the root of its own, and the update given the norm that it had. 0.95 in its source.
        cautious: let weights decay only where the update moves them towards zero.
        compile: True, False for eager solves, or keyword arguments of `torch.compile`, such as
            `{"mode": "max-autotune-no-cudagraphs"}`. A batch of which gradients are missing is filled with
            zeros, up to twice over, so that it needs no graph of its own.
        process_group: a group whose processes hold the same parameters (DDP; for hybrid sharding that of the
            mesh dimension that replicates) or the same shards of them, as a ProcessGroup or a DeviceMesh of
            one dimension; they must have gradients for the same parameters. Each solves a share of equal
            cost, which an all-gather spreads. None: each process solves all.

    All options from `lr` to `cautious` may differ by param group. `state_dict` has the layout of torch's,
    whose checkpoints load: options that they lack stay as they are, but for a rule that is "jordan" or a
    table, which becomes that of the checkpoint's coefficients. torch loads ours, and runs its own iteration.

    A compiled train step of the caller's takes `step` into its graph, where the optimizer is an argument or a
    closure's variable (of a global Dynamo makes constants) and no other process takes part: one graph for the
    first step and one for the others, at any rate.

    Raises TypeError or ValueError, naming the argument, what it was and what is allowed, also for parameters
    that are complex, of one dimension, or flattened by FullyShardedDataParallel; `step` raises RuntimeError
    for sparse gradients. A NaN or infinite gradient makes its own parameter NaN and no other, as in torch.

    Cost: that of `polar` for each matrix; memory for one copy of the largest batch, and its solve. With W
    processes a W-th of the solves each, and memory for this process's directions and results.

    Source: K. Jordan, Muon (2024); Liu et al., arXiv 2502.16982 (`match_rms_adamw`); `torch.optim.Muon`; Li
    et al., arXiv 2510.05491 (NorMuon); Chen et al., arXiv 2510.12402 (cautious weight decay).

    Example:
        >>> import torch
        >>> from prism_compile.optim import Muon, split_parameters
        >>> model = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(3)))
        >>> matrices, rest = split_parameters(model)
        >>> optimizers = [Muon(matrices, lr=0.02, compile=False), torch.optim.AdamW(rest)]
        >>> model(torch.randn(4, 8)).square().mean().backward()
        >>> for optimizer in optimizers:
        ...     optimizer.step()

    QK-clip (Kimi K2, arXiv 2507.20534) keeps attention's logits below t: after a step, the queries and keys
    of a head whose largest logit was larger shrink. Where the model notes that logit of each head, it is a
    hook:

        >>> query, key = torch.nn.Linear(8, 8, bias=False), torch.nn.Linear(8, 8, bias=False)
        >>> largest = torch.tensor([50.0, 400.0])
        >>> def clip(optimizer, args, kwargs, t=100.0):
        ...     shrink = (t / largest).clamp(max=1).sqrt()
        ...     for weight in (query.weight, key.weight):
        ...         weight.data.unflatten(0, (len(shrink), -1)).mul_(shrink[:, None, None])
        >>> handle = optimizers[0].register_step_post_hook(clip)
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
        heads: int | Sequence[int] = 1,
        heads_by: str = "rows",
        momentum_dtype: torch.dtype | None = None,
        beta2: float | None = None,
        cautious: bool = False,
        compile: bool | dict[str, Any] = True,
        process_group: Any = None,
    ):
        defaults = group_defaults(locals())
        self._check_group(defaults)
        super().__init__(params, defaults, compile, process_group)

    _saved_options = ("momentum", "nesterov", "ns_steps")
    _checks: ClassVar = {
        **{"lr": check.rate, "nesterov": check.flag, "cautious": check.flag},
        **dict.fromkeys(("momentum", "weight_decay", "eps"), check.amount),
        **{"momentum_dtype": check.matrix_dtype, "ns_steps": check.integer(1)},
        "beta2": partial(check.decay, or_none=True),
        "adjust_lr_fn": check.optional(check.choice("original", "match_rms_adamw")),
        **check.SOLVE,
    }

    def _begin(self, compile: bool | dict[str, Any]) -> None:
        super()._begin(compile)
        self._polar = BatchSolver(self._compile_options)

    def __setstate__(self, state: dict[str, Any]) -> None:
        before = self.__dict__.get("param_groups", ())
        super().__setstate__(state)
        # Also where `load_state_dict` ends, with groups that may be torch.optim.Muon's, of fewer options.
        for own, loaded in zip(before, self.param_groups):
            if "rule" not in loaded and (own["rule"] == "jordan" or not isinstance(own["rule"], str)):
                resolve_rule(loaded)
            for name in self.defaults.keys() & own.keys():
                loaded.setdefault(name, own[name])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; see `torch.optim.Optimizer.add_param_group`."""
        # Either replaces both of the defaults.
        pair = ("ns_coefficients", "rule")
        if isinstance(param_group, dict) and any(name in param_group for name in pair):
            param_group = {**dict.fromkeys(pair), **param_group}
        super().add_param_group(param_group)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        resolve_rule(group)
        check.check_solve(solve_options(group, "ns_steps"))

    def _cut(self, group: dict[str, Any], param: Tensor) -> MatrixCut:
        how = {name: group[name] for name in ("flatten", "heads", "heads_by")}
        return matrix_cut(param.shape, keeps_rows=group["beta2"] is not None, **how)

    def _restore(self, group: dict[str, Any], param: Tensor, saved: dict[str, Any]) -> None:
        kept = group["momentum_dtype"] or param.dtype
        for name, dtype in (("momentum_buffer", kept), (SECOND_MOMENT, None)):
            if name in saved:
                self.state[param][name] = saved[name].to(param.device, dtype, copy=True)

    def _step(self, stepping: Stepping) -> None:
        even = EvenRows()
        orthogonalise(
            self._polar, [self._request(group, param, even) for group, own in stepping for param in own]
        )
        even.finish()

    def _request(self, group: dict[str, Any], param: Tensor, even: EvenRows) -> Request:
        """Advance a parameter's momentum; what is to be orthogonalised, and how the update is applied."""
        share = self._shares[param]
        end, start = self._direction(group, param, share.layout)
        factor = partial(_rate_factor, group["adjust_lr_fn"])
        # Matrices of several shapes have their factors before they are one update.
        own, of_all = (factor, 1.0) if share.cut.matrix is None else (None, factor(*share.cut.matrix))
        apply: Apply = partial(apply_update, group, param, share.layout, of_all)
        if group["beta2"] is not None:
            apply = even.of(share, param, self.state[param], group["beta2"], apply)
        details = solve_options(group, "ns_steps"), own
        return Request(share, apply, details, end, start, group["momentum"])

    def _direction(
        self, group: dict[str, Any], param: Tensor, layout: Layout
    ) -> tuple[Tensor, Tensor | None]:
        """The momentum with this step's gradient in it, and for Nesterov's mean of the two the gradient."""
        grad, state, momentum = aligned_gradient(param), self.state[param], group["momentum"]
        kept = group["momentum_dtype"] or grad.dtype
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(grad, dtype=kept, memory_format=torch.preserve_format)
        # The option may be another one by now.
        buffer = state["momentum_buffer"] = state["momentum_buffer"].to(kept)
        grad = grad.to(torch.promote_types(kept, grad.dtype))
        mean = buffer.to(grad.dtype).lerp_(grad, 1 - momentum)
        if mean is not buffer:
            buffer.copy_(mean)
        if layout.gathered:
            return working_part(grad.lerp(mean, momentum) if group["nesterov"] else mean, layout), None
        return local(mean), local(grad) if group["nesterov"] else None


def _rate_factor(adjust_lr_fn: str | None, m: int, n: int) -> float:
    """The step size for a matrix `[m, n]` over the rate, as torch.optim.Muon's `adjust_lr_fn` has it."""
    factor: float = 0.2 * max(m, n) ** 0.5 if adjust_lr_fn == "match_rms_adamw" else max(1.0, m / n) ** 0.5
    return factor
