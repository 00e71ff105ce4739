"""Damping of symmetric or Hermitian matrices."""

from torch import Tensor

from .._iteration.linear_algebra import diagonal, identity_like


def damped(A: Tensor, eps: float) -> Tensor:
    """A + eps·tr(A)/n·I, with the real part of the trace."""
    if eps == 0:
        return A
    n = max(A.shape[-1], 1)
    real = A.real if A.is_complex() else A
    mean = (diagonal(real) / n).sum(dim=-1)[:, None, None]
    return A + eps * mean * identity_like(A)
