"""Inverse roots of a batch of Kronecker factors, by PRISM or by eigendecomposition."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .. import inv_root, steps_for
from .._iteration.linear_algebra import diagonal, identity_like
from ._graphs import compiled_apart

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
