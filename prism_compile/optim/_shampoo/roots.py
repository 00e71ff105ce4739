"""Inverse roots of a batch of Kronecker factors, by PRISM or by eigendecomposition."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ... import inv_root, steps_for
from ..._iteration.linear_algebra import identity_like
from .._shared.exchange import all_gather
from .._shared.graphs import compiled_apart
from .._shared.shares import cheapest_first
from .state import correction, factors_of

SOLVERS = ("prism", "eigh")
_TOLERANCE = 1e-3


@cache
def steps_for_factor(n: int, p: int, eps: float, dtype: torch.dtype) -> int:
    """Steps for the worst condition that the damping leaves an n×n factor, that of rank one.

    tr(A)/n is 1/n of a lone eigenvalue, so that the condition is 1 + n/eps; past the reciprocal of the
    machine epsilon there is nothing to be had.
    """
    condition = min(1 + n / eps, 1 / torch.finfo(dtype).eps)
    return steps_for("inv_root", condition=condition, tol=_TOLERANCE, p=p)


def _trace(A: Tensor) -> Tensor:
    return A.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]


def _eigh_root(A: Tensor, p: int, eps: float) -> Tensor:
    """(A + eps·tr(A)/n·I)^(-1/p); what rounding made negative counts as zero."""
    values, Q = torch.linalg.eigh(A)
    damped = values.clamp(min=0) + eps / A.shape[-1] * _trace(A)[:, 0]
    root: Tensor = (Q * damped.pow(-1 / p).unsqueeze(-2)) @ Q.mT
    return root


def inverse_roots(A: Tensor, correction: Tensor, p: int, eps: float, steps: int, solver: str) -> Tensor:
    """Inverse p-th roots of damped factors over their bias corrections, (A/b + damping)^(-1/p).

    A: `[b, n, n]`, a sum of GGᵀ each; correction: `[b, 1, 1]`. The identity for a factor whose trace is
    zero or subnormal, i.e. whose gradients were all zero.
    """
    A = (A + A.mT) / 2
    # The damping is relative, so that there is none for a zero factor.
    empty = _trace(A) < torch.finfo(A.dtype).tiny
    A = torch.where(empty, identity_like(A), A)
    root = _eigh_root(A, p, eps) if solver == "eigh" else inv_root(A, p, eps=eps, steps=steps)
    return root * correction ** (1 / p)


def compiled_inverse_roots(options: dict[str, Any]) -> Callable[..., Tensor]:
    """`inverse_roots` by `torch.compile(**options)`, one graph per shape and option set."""
    # Dynamo's limit of 8 would stop at the ninth shape.
    return compiled_apart(inverse_roots, {"recompile_limit": 256, **options})


def refresh_roots(
    solve: Callable[..., Tensor], group: dict[str, Any], states: list[dict[str, Any]], replicas: Any
) -> None:
    """Compute the roots of weights' blocks anew, equal sizes in one batch.

    Weights without a gradient now are among them, so that a batch's shape does not change. replicas: a group
    of processes that have the same states; each solves a share, balanced by n³.
    """
    entries = [(factor, root, state["step"]) for state in states for factor, root in factors_of(state)]
    mine = entries
    if replicas is not None:
        ranks = cheapest_first([factor.shape[0] ** 3 for factor, _, _ in entries], [0] * replicas.size())
        mine = [entry for entry, rank in zip(entries, ranks) if rank == replicas.rank()]
    _solve_roots(solve, group, mine)
    if replicas is None:
        return
    by_kind: dict[tuple[torch.dtype, torch.device], list[tuple[Tensor, int]]] = {}
    for (_, root, _), rank in zip(entries, ranks):
        by_kind.setdefault((root.dtype, root.device), []).append((root, rank))
    for roots in by_kind.values():
        _spread(roots, replicas)


def _solve_roots(
    solve: Callable[..., Tensor], group: dict[str, Any], entries: list[tuple[Tensor, Tensor, Tensor]]
) -> None:
    """Write the roots of (factor, root, number of steps taken)."""
    batches: dict[tuple[int, torch.dtype, torch.device], list[tuple[Tensor, Tensor, Tensor]]] = {}
    for entry in entries:
        factor = entry[0]
        batches.setdefault((factor.shape[0], factor.dtype, factor.device), []).append(entry)
    for (n, dtype, _), members in batches.items():
        factors, roots, taken = zip(*members)
        weights = correction(torch.stack(taken), group["betas"][1], dtype)[:, None, None]
        p, eps = group["p"], group["eps"]
        steps = group["steps"] or steps_for_factor(n, p, eps, dtype)
        found = solve(torch.stack(factors), weights, p, eps, steps, group["solver"])
        torch._foreach_copy_(list(roots), list(found.unbind()))


def _spread(roots: list[tuple[Tensor, int]], replicas: Any) -> None:
    """Bring each root from the process that has solved it to the others."""
    world = replicas.size()
    shares = [[root for root, rank in roots if rank == r] for r in range(world)]
    sizes = [[root.numel() for root in share] for share in shares]
    rows = all_gather(shares[replicas.rank()], sizes, roots[0][0].new_empty(0), replicas)
    for share, row in zip(shares, rows):
        for root, found in zip(share, row):
            root.copy_(found.view_as(root))
