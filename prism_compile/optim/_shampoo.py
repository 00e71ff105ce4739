"""Shampoo, its inverse roots by PRISM."""

from collections.abc import Callable
from functools import cached_property
from itertools import chain
from math import log
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT
from torch.utils import _pytree as pytree

from .._iteration.precision import accumulation_dtype, without_autocast
from ._blocks import block_grid
from ._grafting import adam_direction, with_norm_of
from ._root_solvers import compiled_inverse_roots, inverse_roots, steps_for_factor
from ._shampoo_settings import check_group


def _decayed(average: Tensor, new: Tensor, beta: float) -> None:
    """An exponential mean, or for beta = 1 the plain sum."""
    average.mul_(beta).add_(new, alpha=1 - beta if beta < 1 else 1)


def _correction(step: Tensor, beta: float, dtype: torch.dtype) -> Tensor:
    """The total weight of what a mean has taken in, 1 - beta^step; 1 for a sum and for no mean at all."""
    step = step.to(dtype)
    # expm1, as 1 - 0.999 has lost five digits in float32.
    return -torch.expm1(step * log(beta)) if 0 < beta < 1 else torch.ones_like(step)


class Shampoo(Optimizer):
    """Shampoo: weight matrices preconditioned on both sides by inverse roots of the gradients' covariances.

    For a weight W `[m, n]` with gradient G and its mean M (bias-corrected by 1 - β^t, as L, R and V below):

        L ← β₂ L + (1-β₂) G Gᵀ,   R ← β₂ R + (1-β₂) Gᵀ G,   M ← β₁ M + (1-β₁) G
        D = (L + eps·tr(L)/m·I)^(-1/p) M (R + eps·tr(R)/n·I)^(-1/p)
        W ← (1 - lr·weight_decay) W - lr · D · ‖graft‖_F/‖D‖_F

    The roots are those of `prism_compile.inv_root`. A weight of more than two dimensions is taken as the
    matrix `[shape[0], product of the rest]`; one larger than `max_preconditioner_dim` is cut evenly into
    blocks, each with an L and R of its own. Vectors and scalars take Adam's step, i.e. a diagonal
    preconditioner. Factors of one size, of all weights in a group, are one batch of one solve.

    Args:
        params: parameters, or groups of them with options of their own; float64, float32, bfloat16, float16.
        lr: learning rate, a number or a tensor of one element.
        betas: decay of the gradients' mean, in [0, 1), and of the covariances and squares, in [0, 1]; 1 sums
            them, as the paper does.
        eps: damping > 0, relative to the mean eigenvalue. In float32 no less than about 1e-7 times the
            largest factor's size: below it rounding makes an eigenvalue negative.
        weight_decay: decoupled weight decay.
        max_preconditioner_dim: largest size of a factor.
        precondition_frequency: the roots are computed anew every so many steps, the first time at
            `start_step`.
        start_step: the number of first steps that are those of the grafted method, while factors gather.
        grafting: whose step length D is given, weight by weight: "none" keeps D's own, "sgd" ‖M‖_F,
            "adam" that of M / (√V + grafting_eps). Before `start_step` the step is M for "none" and "sgd".
        grafting_eps: Adam's ε, for grafting and for vectors.
        p: order of both inverse roots. 4 is the paper's A^(-1/(2·order)) for matrices.
        solver: "prism", or "eigh" for `torch.linalg.eigh`, which on a GPU waits for the device.
        steps: steps of `inv_root`; None is what `steps_for` names for tol=1e-3 at the condition 1 + n/eps,
            the worst that the damping leaves (p = 4, eps = 1e-4, n = 256: 8). In float32 the root is then
            about as exact as that of eigh.
        compile: True, False for eager solves, or keyword arguments of `torch.compile`; one graph for each
            size and number of factors.

    Raises:
        TypeError, ValueError: naming the argument, what it was and what is allowed.
        RuntimeError: from `step`, for a sparse gradient.

    `step` reads nothing back from the device and does not branch on data. Parameters without a gradient are
    skipped, their step counts included. Zero gradients give a zero step. A NaN or infinity in a gradient
    enters that parameter's means and factors and stays, as with Adam: guard the step where gradients may
    overflow. Squares of gradients below 1e-19 vanish in float32; the root of a factor that vanished is the
    identity.
    All state is kept in float32 for half-precision and float32 parameters, in float64 for float64 ones, also
    when it is loaded into a model of another dtype or device.

    Cost per step: two products of m·m·n and two of m·n·n; every `precondition_frequency` steps the two
    inverse roots, for p = 4 each 5·steps - 4 products of m·m·m and n·n·n.

    Source: Gupta, Koren and Singer, arXiv 1802.09568; grafting and blocks: Anil et al., arXiv 2002.09018; Shi
    et al., arXiv 2309.06497.

    Example:
        >>> import torch
        >>> from prism_compile.optim import Shampoo
        >>> model = torch.nn.Linear(8, 4)
        >>> optimizer = Shampoo(model.parameters(), lr=1e-2, compile=False)
        >>> model(torch.ones(1, 8)).square().sum().backward()
        >>> optimizer.step()
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-4,
        weight_decay: float = 0.0,
        *,
        max_preconditioner_dim: int = 1024,
        precondition_frequency: int = 1,
        start_step: int = 0,
        grafting: str = "adam",
        grafting_eps: float = 1e-8,
        p: int = 4,
        solver: str = "prism",
        steps: int | None = None,
        compile: bool | dict[str, Any] = True,
    ):
        if not isinstance(compile, (bool, dict)):
            raise TypeError(f"compile must be True, False or a dict for torch.compile, got {compile!r}")
        self._compile = compile
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "max_preconditioner_dim": max_preconditioner_dim,
            "precondition_frequency": precondition_frequency,
            "start_step": start_step,
            "grafting": grafting,
            "grafting_eps": grafting_eps,
            "p": p,
            "solver": solver,
            "steps": steps,
            # Steps taken, which sets when roots are due; kept here so that a checkpoint has it.
            "count": 0,
        }
        super().__init__(params, defaults)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_compile": self._compile}

    @cached_property
    def _inverse_roots(self) -> Callable[..., Tensor]:
        """The solver of a batch; its graphs are neither copied nor pickled."""
        if self._compile is False:
            return inverse_roots
        return compiled_inverse_roots({} if self._compile is True else self._compile)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, its options checked."""
        super().add_param_group(param_group)
        try:
            check_group(self.param_groups[-1])
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns what the closure, if any, returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            active = [w for w in group["params"] if w.grad is not None and w.numel() > 0]
            if not active:
                continue
            with without_autocast(active[0]):
                self._step_group(group, active)
        return loss

    # A caller's torch.compile would guard on the count of steps; the solve is compiled as it is.
    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch's
    def _step_group(self, group: dict[str, Any], active: list[Tensor]) -> None:
        since_start = group["count"] - group["start_step"]
        started = since_start >= 0
        # A weight that joins later has no roots yet.
        due = started and since_start % group["precondition_frequency"] == 0
        for weight in active:
            due |= started and not self.state[weight]
            self._accumulate(group, weight)
        if due:
            self._refresh_roots(group)
        for weight in active:
            state, lr = self.state[weight], group["lr"]
            direction = self._direction(group, weight, started and "roots" in state)
            weight.mul_(1 - lr * group["weight_decay"])
            weight.sub_((lr * direction).to(weight.dtype))
        group["count"] += 1

    def _new_state(self, group: dict[str, Any], weight: Tensor) -> dict[str, Any]:
        like: dict[str, Any] = {"dtype": accumulation_dtype(weight.dtype), "device": weight.device}
        state: dict[str, Any] = {"step": torch.zeros((), dtype=torch.float32, device=weight.device)}
        if group["betas"][0] > 0:
            state["mean"] = torch.zeros(weight.shape, **like)
        if weight.ndim < 2 or group["grafting"] == "adam":
            state["square"] = torch.zeros(weight.shape, **like)
        if weight.ndim >= 2:
            sizes = block_grid(weight.shape, group["max_preconditioner_dim"]).factor_sizes()
            state["factors"] = [torch.zeros(n, n, **like) for n in sizes]
            state["roots"] = [torch.eye(n, **like) for n in sizes]
        return state

    def _accumulate(self, group: dict[str, Any], weight: Tensor) -> None:
        """Take the gradient into the means and factors."""
        assert weight.grad is not None
        if weight.grad.is_sparse:
            raise RuntimeError(f"Shampoo does not support sparse gradients, got shape {tuple(weight.shape)}")
        state = self.state[weight]
        if not state:
            state.update(self._new_state(group, weight))
        first, second = group["betas"]
        G = weight.grad.to(accumulation_dtype(weight.dtype))
        state["step"] += 1
        if "mean" in state:
            _decayed(state["mean"], G, first)
        if "square" in state:
            _decayed(state["square"], G * G, second)
        if "factors" in state:
            grid = block_grid(weight.shape, group["max_preconditioner_dim"])
            blocks = grid.blocks(G.reshape(weight.shape[0], -1))
            scale = 1 - second if second < 1 else 1
            for B, L, R in zip(blocks, state["factors"][::2], state["factors"][1::2]):
                L.addmm_(B, B.mT, beta=second, alpha=scale)
                R.addmm_(B.mT, B, beta=second, alpha=scale)

    def _refresh_roots(self, group: dict[str, Any]) -> None:
        """Compute all roots of the group anew, equal sizes in one batch.

        Weights without a gradient now are among them, so that a batch's shape does not change.
        """
        batches: dict[tuple[int, torch.dtype, torch.device], list[tuple[Tensor, Tensor, Tensor]]] = {}
        for weight in group["params"]:
            state = self.state.get(weight, {})
            for factor, root in zip(state.get("factors", ()), state.get("roots", ())):
                key = (factor.shape[0], factor.dtype, factor.device)
                batches.setdefault(key, []).append((factor, root, state["step"]))
        for (n, dtype, _), members in batches.items():
            factors, roots, taken = zip(*members)
            correction = _correction(torch.stack(taken), group["betas"][1], dtype)[:, None, None]
            p, eps = group["p"], group["eps"]
            steps = group["steps"] or steps_for_factor(n, p, eps, dtype)
            found = self._inverse_roots(torch.stack(factors), correction, p, eps, steps, group["solver"])
            torch._foreach_copy_(list(roots), list(found.unbind()))

    def _direction(self, group: dict[str, Any], weight: Tensor, precondition: bool) -> Tensor:
        """What lr multiplies, `weight`'s shape, in the dtype of the state."""
        assert weight.grad is not None
        state = self.state[weight]
        first, second = group["betas"]
        mean = state["mean"] if "mean" in state else weight.grad.to(accumulation_dtype(weight.dtype))
        mean = mean / _correction(state["step"], first, mean.dtype)
        plain = mean
        if "square" in state:
            square = state["square"] / _correction(state["step"], second, mean.dtype)
            plain = adam_direction(mean, square, group["grafting_eps"])
        if not precondition:
            return plain
        direction = self._preconditioned(group, mean, state["roots"])
        return direction if group["grafting"] == "none" else with_norm_of(direction, plain)

    def _preconditioned(self, group: dict[str, Any], mean: Tensor, roots: list[Tensor]) -> Tensor:
        grid = block_grid(mean.shape, group["max_preconditioner_dim"])
        M = mean.reshape(mean.shape[0], -1)
        D = torch.empty_like(M)
        for source, target, left, right in zip(grid.blocks(M), grid.blocks(D), roots[::2], roots[1::2]):
            target.copy_(left @ source @ right)
        return D.reshape(mean.shape)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, each tensor to its parameter's device in the precision that state is kept in."""
        seen: dict[str, Any] = {}
        # As the last hook, this sees what the caller's hooks have made of the state.
        handle = self.register_load_state_dict_pre_hook(lambda _, final: seen.update(final))
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()

        # torch casts state to the parameter's dtype and, where nothing changes, shares it with its source.
        numbers = chain.from_iterable(group["params"] for group in seen["param_groups"])
        weights = chain.from_iterable(group["params"] for group in self.param_groups)
        for number, weight in zip(numbers, weights):
            if number in seen["state"]:
                self.state[weight] = _restored(seen["state"][number], weight)


def _restored(saved: dict[str, Any], weight: Tensor) -> dict[str, Any]:
    kept = accumulation_dtype(weight.dtype)
    state = pytree.tree_map(lambda t: t.to(weight.device, kept, copy=True), saved)
    return {**state, "step": state["step"].float()}
