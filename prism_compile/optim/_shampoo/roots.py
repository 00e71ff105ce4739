"""Inverse roots of a batch of Kronecker factors, by PRISM or by eigendecomposition."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ... import inv_root, steps_for
from ..._iteration.linear_algebra import diagonal, identity_like
from .._shared.collectives import all_gather
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
    return diagonal(A).sum(-1)[:, None, None]


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


class _Entry(NamedTuple):
    """A factor, its root, and the number of gradients in it."""

    factor: Tensor
    root: Tensor
    taken: Tensor
    group: dict[str, Any]

    def key(self) -> tuple[Any, ...]:
        """What the factors of one batch have in common."""
        names = ("p", "eps", "steps", "solver")
        options = [self.group[name] for name in names]
        return (len(self.factor), self.factor.dtype, self.factor.device, self.group["betas"][1], *options)


def refresh_roots(
    solve: Callable[..., Tensor], states: list[tuple[dict[str, Any], dict[str, Any]]], replicas: Any
) -> None:
    """Compute anew the roots of weights, each given by its group and its state; equal sizes in one batch.

    Weights without a gradient now are among them, so that a batch's shape does not change. replicas: a group
    of processes that have the same states; each solves a share, balanced by n³.
    """
    entries = [_Entry(*pair, state["step"], group) for group, state in states for pair in factors_of(state)]
    if replicas is None:
        _solve_roots(solve, entries)
        return
    ranks = cheapest_first([len(entry.factor) ** 3 for entry in entries], [0] * replicas.size())
    _solve_roots(solve, [entry for entry, rank in zip(entries, ranks) if rank == replicas.rank()])
    by_kind: dict[tuple[torch.dtype, torch.device], list[tuple[Tensor, int]]] = {}
    for entry, rank in zip(entries, ranks):
        by_kind.setdefault((entry.root.dtype, entry.root.device), []).append((entry.root, rank))
    for roots in by_kind.values():
        _spread(roots, replicas)


def _solve_roots(solve: Callable[..., Tensor], entries: list[_Entry]) -> None:
    """Write the roots of some factors."""
    batches: dict[tuple[Any, ...], list[_Entry]] = {}
    for entry in entries:
        batches.setdefault(entry.key(), []).append(entry)
    for (n, dtype, _, beta, p, eps, steps, solver), members in batches.items():
        factors, roots, taken, _ = zip(*members)
        weights = correction(torch.stack(taken), beta, dtype)[:, None, None]
        steps = steps or steps_for_factor(n, p, eps, dtype)
        found = solve(torch.stack(factors), weights, p, eps, steps, solver)
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
