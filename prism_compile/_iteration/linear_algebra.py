"""Products, norms and the identity, for batches `[b, m, n]`."""

import torch
from torch import Tensor

from .precision import accumulation_dtype


def adjoint(A: Tensor) -> Tensor:
    """Aᵀ of each matrix."""
    return A.transpose(-1, -2)


def identity_minus(identity: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """I - left right, rounded once."""
    return torch.baddbmm(identity, left, right, alpha=-1)


def identity_like(A: Tensor) -> Tensor:
    """The n×n identity of A's dtype and device, for `A: [..., n]`."""
    n = A.shape[-1]
    if not torch.compiler.is_compiling():
        return torch.eye(n, dtype=A.dtype, device=A.device)
    # Inductor does not vectorise eye's comparison of integers, nor then what it fuses with it.
    index = torch.arange(n, dtype=torch.float32, device=A.device)
    return (index[:, None] == index).to(A.dtype)


def frobenius_norm(A: Tensor) -> Tensor:
    """‖A‖_F of each matrix, `[b, 1, 1]`, accumulated in at least float32; a constant to derivatives."""
    dtype = accumulation_dtype(A.dtype)
    return torch.linalg.vector_norm(A.detach(), dim=(-2, -1), keepdim=True, dtype=dtype)


def rms_norm(residual: Tensor) -> Tensor:
    """‖R‖_F/√n of each matrix, `[b]`; no derivative flows through it."""
    n = residual.shape[-1]
    return (frobenius_norm(residual.detach()) * (n**-0.5 if n else 0.0))[:, 0, 0]
