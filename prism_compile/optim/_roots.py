"""Inverse roots of a batch of Kronecker factors, by PRISM or by eigendecomposition."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import inv_root
from .._iteration.linear_algebra import diagonal, identity_like
from ._exchange import all_gather
from ._plan import largest_first
from ._polar import compiled_apart
from ._preconditioner import Group, correction, factors_of

SOLVERS = ("prism", "eigh")
# By `tools/train --only Shampoo`: a tolerance of 1e-2 costs no loss against eigh's roots, 1e-1 does.
_TOLERANCE = 1e-2


class RootOptions(NamedTuple):
    """The options of inverse roots; see `Shampoo`."""

    p: int
    eps: float
    steps: int | None
    solver: str


def _accuracy(eps: float, steps: int | None, dtype: torch.dtype) -> dict[str, Any]:
    """So many steps, or as the condition 1/eps takes, that of the damping below an even spectrum.

    A factor of rank one has the condition 1 + n/eps, but no training was found to be the better for steps
    that reach it; past the reciprocal of the machine epsilon rounding undoes them.
    """
    if steps is not None:
        return {"steps": steps}
    return {"tol": _TOLERANCE, "condition": min(1 / eps, 1 / torch.finfo(dtype).eps)}


def _trace(A: Tensor) -> Tensor:
    return diagonal(A).sum(-1)[:, None, None]


def _eigh_root(A: Tensor, p: int, eps: float) -> Tensor:
    """(A + eps·tr(A)/n·I)^(-1/p); what rounding made negative counts as zero."""
    values, Q = torch.linalg.eigh(A)
    damped = values.clamp(min=0) + eps / A.shape[-1] * _trace(A)[:, 0]
    root: Tensor = (Q * damped.pow(-1 / p).unsqueeze(-2)) @ Q.mT
    return root


def inverse_roots(A: Tensor, correction: Tensor, options: RootOptions) -> Tensor:
    """Inverse p-th roots of damped factors over their bias corrections, (A/b + damping)^(-1/p).

    A: `[b, n, n]`, a sum of GGᵀ each; correction: `[b, 1, 1]`. The identity for a factor whose trace is
    zero or subnormal, i.e. whose gradients were all zero.
    """
    p, eps, steps, solver = options
    A = (A + A.mT) / 2
    # The damping is relative, so that there is none for a zero factor.
    empty = _trace(A) < torch.finfo(A.dtype).tiny
    A = torch.where(empty, identity_like(A), A)
    if solver == "eigh":
        root = _eigh_root(A, p, eps)
    else:
        root = inv_root(A, p, eps=eps, **_accuracy(eps, steps, A.dtype))
    return root * correction ** (1 / p)


def compiled_inverse_roots(options: dict[str, Any]) -> Callable[..., Tensor]:
    """`inverse_roots` by `torch.compile(**options)`, one graph per shape and option set."""
    # Dynamo's limit of 8 would stop at the ninth shape.
    return compiled_apart(inverse_roots, {"recompile_limit": 256, **options})


class _Root(NamedTuple):
    """A factor, its root, the number of gradients in it, and its weight's group."""

    factor: Tensor
    root: Tensor
    taken: Tensor
    group: Group

    def key(self) -> tuple[Any, ...]:
        """What the factors of one batch have in common."""
        options = RootOptions(*(self.group[name] for name in RootOptions._fields))
        return len(self.factor), self.factor.dtype, self.factor.device, self.group["betas"][1], options


def refresh_roots(
    solve: Callable[..., Tensor], states: list[tuple[Group, dict[str, Any]]], replicas: Any
) -> None:
    """Compute anew the roots of weights, each given by its group and its state; equal sizes in one batch.

    Weights without a gradient now are among them, so that a batch's shape does not change. replicas: a group
    of processes that have the same states; each solves a share, balanced by n³.
    """
    roots = [_Root(*pair, state["step"], group) for group, state in states for pair in factors_of(state)]
    if replicas is None:
        _solve(solve, roots)
        return
    ranks = largest_first([len(root.factor) ** 3 for root in roots], [0] * replicas.size())
    _solve(solve, [root for root, rank in zip(roots, ranks) if rank == replicas.rank()])
    together: dict[tuple[torch.dtype, torch.device], list[tuple[Tensor, int]]] = {}
    for (_, root, *_), rank in zip(roots, ranks):
        together.setdefault((root.dtype, root.device), []).append((root, rank))
    for own in together.values():
        _spread(own, replicas)


def _solve(solve: Callable[..., Tensor], roots: list[_Root]) -> None:
    """Write some roots."""
    batches: dict[tuple[Any, ...], list[_Root]] = {}
    for root in roots:
        batches.setdefault(root.key(), []).append(root)
    for (_, dtype, _, beta, options), own in batches.items():
        factors, targets, taken, _ = zip(*own)
        weights = correction(torch.stack(taken), beta, dtype)[:, None, None]
        found = solve(torch.stack(factors), weights, options)
        torch._foreach_copy_(list(targets), list(found.unbind()))


def _spread(roots: list[tuple[Tensor, int]], replicas: Any) -> None:
    """Bring each root from the process that has solved it to the others."""
    # In order of the processes, and within each as they were.
    roots = sorted(roots, key=lambda root: root[1])
    own = [root.flatten() for root, rank in roots if rank == replicas.rank()]
    totals = [sum(root.numel() for root, rank in roots if rank == r) for r in range(replicas.size())]
    gathered = all_gather(torch.cat(own) if own else roots[0][0].new_empty(0), totals, replicas)
    for (root, _), found in zip(roots, gathered.split([root.numel() for root, _ in roots])):
        root.copy_(found.view_as(root))
