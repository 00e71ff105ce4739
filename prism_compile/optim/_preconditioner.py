"""Shampoo's blocks: the state of each at the process that owns it, its steps and its inverse roots.

A weight's state is flat, by the number of each block in its grid ("mean.0", "left.0", "left_root.0", …), so
that checkpoints name the same tensors whoever owned them. Vectors have their state where they are.
"""

from collections.abc import Callable
from math import log
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from .. import inv_root
from .._interface.distributed import is_distributed, placed_like
from .._iteration.linear_algebra import identity_like, trace
from .._iteration.precision import accumulation_dtype
from ._plan import largest_first, whole_box
from ._processes import Layout, bring_together, local, shard_of

Group = dict[str, Any]

SOLVERS = ("prism", "eigh")
# By `tools/train --only Shampoo`: a tolerance of 1e-2 costs no loss against eigh's roots, 1e-1 does.
_TOLERANCE = 1e-2


def _correction(step: Tensor, beta: float, dtype: torch.dtype) -> Tensor:
    """The total weight of what a mean has taken in, 1 - beta^step; 1 for a sum and for no mean at all."""
    step = step.to(dtype)
    if not 0 < beta < 1:
        return torch.ones_like(step)
    # A caller's graph would make a guard of the logarithm's value. In float32 1 - 0.999 has lost five digits.
    is_traced = torch.compiler.is_compiling()
    logarithm = torch.log1p(step.new_full((), beta - 1)) if is_traced else log(beta)
    return -torch.expm1(step * logarithm)


def _take_in(average: Tensor, new: Tensor, beta: float) -> None:
    """Make an exponential mean of what was taken in, or for beta = 1 the plain sum."""
    weight = 1 - beta if beta < 1 else 1
    if torch.compiler.is_compiling():
        # A caller's graph would make a guard of alpha's value.
        average.mul_(beta).add_(new * weight)
    else:
        average.mul_(beta).add_(new, alpha=weight)


class WeightStep:
    """A step of a weight, begun by counting it; kept: the dtype of its state."""

    def __init__(self, group: Group, state: dict[str, Any], weight: Tensor):
        self.group, self.state, self.kept = group, state, accumulation_dtype(weight.dtype)
        if "step" not in state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device)
        state["step"] += 1
        # Those of the mean and of the square.
        self.corrections = [_correction(state["step"], beta, self.kept) for beta in group["betas"]]
        self.is_preconditioned: bool = group["count"] >= group["start_step"]
        self.is_grafted = self.is_preconditioned and group["grafting"] != "none"


class BlockStep:
    """A step of one block of a weight, or of a vector, whose `number` is None.

    The gradient, which for a vector is laid out as the vector is, goes into the means and factors.
    """

    def __init__(self, weight: WeightStep, number: int | None, gradient: Tensor):
        self.weight, group, kept = weight, weight.group, weight.kept
        first, second = group["betas"]
        suffix = "" if number is None else f".{number}"

        def kept_in(name: str, make: Callable[..., Tensor], *arguments: Any, **how: Any) -> Tensor:
            """A state, made where a first step lacks it."""
            if name + suffix not in weight.state:
                weight.state[name + suffix] = make(*arguments, **how)
            return local(weight.state[name + suffix])

        G = self._average = local(gradient).to(kept)
        self._square: Tensor | None = None
        self._roots: list[Tensor] = []
        if first > 0 or f"mean{suffix}" in weight.state:
            self._average = kept_in("mean", torch.zeros_like, gradient, dtype=kept)
            _take_in(self._average, G, first)
        if number is None or group["grafting"] == "adam" or f"square{suffix}" in weight.state:
            self._square = kept_in("square", torch.zeros_like, gradient, dtype=kept)
            _take_in(self._square, G * G, second)
        for name, A in (("left", G), ("right", G.mT)) if number is not None else ():
            factor = kept_in(name, G.new_zeros, len(A), len(A))
            factor.addmm_(A, A.mT, beta=second, alpha=1 - second if second < 1 else 1)
            self._roots.append(kept_in(f"{name}_root", torch.eye, len(A), dtype=kept, device=G.device))

    def _mean(self) -> Tensor:
        """The gradients' mean, its bias corrected."""
        return self._average / self.weight.corrections[0]

    def plain(self) -> Tensor:
        """The update of the grafted method."""
        if self._square is None:
            return self._mean()
        square = self._square / self.weight.corrections[1]
        update: Tensor = self._mean() / (square.sqrt() + self.weight.group["grafting_eps"])
        return update

    def update(self) -> tuple[Tensor, Tensor | None]:
        """The update, and where it is to be grafted its norm and that of the plain one."""
        if not self.weight.is_preconditioned:
            return self.plain(), None
        left, right = self._roots
        update: Tensor = left @ self._mean() @ right
        if not self.weight.is_grafted:
            return update, None
        return update, torch.stack([torch.linalg.vector_norm(each) for each in (update, self.plain())])


def inverse_roots(
    A: Tensor, correction: Tensor, p: int, eps: float, steps: int | None, solver: str
) -> Tensor:
    """Inverse p-th roots of damped factors over their bias corrections, (A/b + damping)^(-1/p).

    A: `[b, n, n]`, a sum of GGᵀ each; correction: `[b, 1, 1]`. The identity for a factor whose trace is
    zero or subnormal, i.e. whose gradients were all zero.
    """
    A = (A + A.mT) / 2
    # The damping is relative, so that there is none for a zero factor.
    empty = trace(A) < torch.finfo(A.dtype).tiny
    A = torch.where(empty, identity_like(A), A)
    if solver == "eigh":
        # Eigenvalues that rounding made negative count as zero.
        values, Q = torch.linalg.eigh(A)
        damped = values.clamp(min=0) + eps / A.shape[-1] * trace(A)[:, 0]
        root = (Q * damped.pow(-1 / p).unsqueeze(-2)) @ Q.mT
    else:
        # The condition is that of an even spectrum above its damping. A factor of rank one has 1 + n/eps, but
        # no training was found to be the better for steps that reach it; past the reciprocal of the machine
        # epsilon rounding undoes them.
        condition = min(1 / eps, 1 / torch.finfo(A.dtype).eps)
        planned: dict[str, Any] = {"tol": _TOLERANCE, "condition": condition}
        how = planned if steps is None else {"steps": steps}
        root = cast(Tensor, inv_root(A, p, eps=eps, **how))
    return cast(Tensor, root * correction ** (1 / p))


class _Root(NamedTuple):
    """A factor, its root, the number of gradients in it, and what the factors of one batch have in common."""

    factor: Tensor
    root: Tensor
    taken: Tensor
    batch: tuple[int, torch.dtype, torch.device, float, tuple[Any, ...]]


def _roots_of(group: Group, state: dict[str, Any]) -> list[_Root]:
    """The roots of a weight's blocks that are here, in the order of the blocks."""
    options = tuple(group[name] for name in ("p", "eps", "steps", "solver"))
    roots = []
    for block in sorted(int(name.partition(".")[2]) for name in state if name.startswith("left.")):
        for side in ("left", "right"):
            factor, root = state[f"{side}.{block}"], state[f"{side}_root.{block}"]
            batch = len(factor), factor.dtype, factor.device, group["betas"][1], options
            roots.append(_Root(factor, root, state["step"], batch))
    return roots


def refresh_roots(
    solve: Callable[..., Tensor], states: list[tuple[Group, dict[str, Any]]], replicas: Any
) -> None:
    """Compute anew the roots of weights, each given by its group and its state; equal sizes in one batch.

    Weights without a gradient now are among them, so that a batch's shape does not change. replicas: a group
    of processes that have the same states; each solves a share, balanced by n³.
    """
    world, here = (1, 0) if replicas is None else (replicas.size(), replicas.rank())
    roots = [root for group, state in states for root in _roots_of(group, state)]
    costs = [len(root.factor) ** 3 for root in roots]
    ranks = largest_first(costs, [0] * world) if world > 1 else [here] * len(roots)
    batches: dict[tuple[Any, ...], list[_Root]] = {}
    solved: dict[tuple[torch.dtype, torch.device], list[list[Tensor]]] = {}
    for own, rank in zip(roots, ranks):
        if rank == here:
            batches.setdefault(own.batch, []).append(own)
        key = own.root.dtype, own.root.device
        solved.setdefault(key, [[] for _ in range(world)])[rank].append(own.root)
    for (_, dtype, _, beta, options), batch in batches.items():
        factors, targets, taken, _ = zip(*batch)
        corrections = _correction(torch.stack(taken), beta, dtype)[:, None, None]
        found = solve(torch.stack(factors), corrections, *options)
        torch._foreach_copy_(list(targets), list(found.unbind()))
    for rows in solved.values() if world > 1 else ():
        boxes = [[whole_box(root.shape) for root in row] for row in rows]
        spread = bring_together(rows[here], boxes, next(root for row in rows for root in row), replicas)
        for row, pieces in zip(rows, spread):
            for root, piece in zip(row, pieces):
                root.copy_(piece)


def restored(saved: dict[str, Any], weight: Tensor, owned: list[int]) -> dict[str, Any]:
    """What a process needs of a weight's saved state: that of the blocks it owns, in the kept precision.

    Raises ValueError where the state lacks one of them.
    """
    kept = accumulation_dtype(weight.dtype)
    wanted = {f".{block}" for block in owned}
    state = {}
    for name, value in saved.items():
        _, dot, number = name.partition(".")
        if not dot or dot + number in wanted:
            dtype = torch.float32 if name == "step" else kept
            value = value.to(weight.device, dtype, copy=True)
            # State of a sharded vector that a single process has saved whole.
            if name in ("mean", "square") and is_distributed(weight) and not is_distributed(value):
                shard = shard_of(value, weight, Layout(gathered=True))
                value = placed_like(weight, shard, tuple(weight.shape))
            state[name] = value
    missing = [block for block in owned if f"left.{block}" not in state]
    if missing and saved:
        raise ValueError(
            f"state_dict must have the blocks {missing} of a weight of shape {tuple(weight.shape)}, which "
            f"this process owns; torch.distributed.checkpoint puts together what several processes have saved"
        )
    return state
