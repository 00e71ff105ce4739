"""Products, norms and the identity, for batches `[b, m, n]`."""

from itertools import accumulate

import torch
from torch import Tensor
from torch._guards import detect_fake_mode

from .precision import accumulation_dtype


def adjoint(A: Tensor) -> Tensor:
    """Aᴴ of each matrix; of a real one Aᵀ, and no further operation."""
    return A.transpose(-1, -2).conj() if A.is_complex() else A.transpose(-1, -2)


def resolved(A: Tensor) -> Tensor:
    """A with no conjugate left to take lazily, which no view of parts and no result may be."""
    return A.resolve_conj() if A.is_complex() else A


def real_entries(A: Tensor) -> Tensor:
    """A with the two parts of each complex entry side by side, `[..., n]` to `[..., 2n]`; a real A itself.

    Inner products of these are the real parts of those of A.
    """
    return torch.view_as_real(resolved(A)).flatten(-2) if A.is_complex() else A


def quotient(A: Tensor, divisor: Tensor) -> Tensor:
    """A over real numbers.

    Of complex A part by part: torch's complex quotient takes a reciprocal, infinite for subnormal numbers.
    """
    if not A.is_complex():
        return A / divisor
    return torch.view_as_complex(torch.view_as_real(resolved(A)) / divisor[..., None])


def identity_minus(identity: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """I - left right, rounded once."""
    return torch.baddbmm(identity, left, right, alpha=-1)


def inverse(A: Tensor) -> Tensor:
    """A⁻¹ of each matrix, NaN of a singular one; that it is singular is not read back from the device."""
    found: Tensor
    found, failed = torch.linalg.inv_ex(A)
    return found.masked_fill((failed != 0)[..., None, None], float("nan"))


def commutator(A: Tensor, X: Tensor) -> tuple[Tensor, Tensor]:
    """AX - XA, and AX: two products."""
    AX = torch.bmm(A, X)
    return torch.baddbmm(AX, X, A, alpha=-1), AX


def identity_like(A: Tensor) -> Tensor:
    """The n×n identity of A's dtype and device, for `A: [..., n]`."""
    n = A.shape[-1]
    if not torch.compiler.is_compiling():
        return torch.eye(n, dtype=A.dtype, device=A.device)
    # Inductor does not vectorise eye's comparison of integers, nor then what it fuses with it.
    index = torch.arange(n, dtype=torch.float32, device=A.device)
    return (index[:, None] == index).to(A.dtype)


def diagonal(A: Tensor) -> Tensor:
    """The diagonal of each square matrix, `[b, n]`."""
    # Not torch's, which Inductor lowers by a function that torch has deprecated: compiling would warn of it.
    return A.flatten(-2)[..., :: A.shape[-1] + 1]


def frobenius_norm(A: Tensor) -> Tensor:
    """‖A‖_F of each matrix, `[b, 1, 1]`, accumulated in at least float32; a constant to derivatives."""
    dtype = accumulation_dtype(A.dtype)
    norm: Tensor = torch.linalg.vector_norm(real_entries(A.detach()), dim=(-2, -1), keepdim=True, dtype=dtype)
    return norm


def rms_norm(residual: Tensor) -> Tensor:
    """‖R‖_F/√n of each matrix, `[b]`; no derivative flows through it."""
    n = residual.shape[-1]
    return (frobenius_norm(residual.detach()) * (n**-0.5 if n else 0.0))[:, 0, 0]


def parts_of(x: Tensor, sizes: tuple[int, ...], dim: int) -> tuple[Tensor, ...]:
    """x in parts along a dimension: views, but for draft export.

    That compares storage offsets of fake and real tensors (torch/_subclasses/fake_utils.py), and so binds a
    size that an offset is a multiple of.
    """
    if not _is_draft(x):
        parts: tuple[Tensor, ...] = x.split(sizes, dim)
        return parts
    ends = list(accumulate(sizes))
    ranges = [torch.arange(end - size, end, device=x.device) for size, end in zip(sizes, ends)]
    return tuple(x.index_select(dim, index) for index in ranges)


def unbound(x: Tensor) -> tuple[Tensor, ...]:
    """x[0], x[1] and so on; as views as in `parts_of`."""
    if not _is_draft(x):
        return x.unbind()
    return tuple(part.squeeze(0) for part in parts_of(x, (1,) * x.shape[0], 0))


def _is_draft(x: Tensor) -> bool:
    # An eager call, which has no modes, need not search for one.
    if torch.compiler.is_dynamo_compiling() or torch._C._len_torch_dispatch_stack() == 0:
        return False
    return getattr(detect_fake_mode(x), "propagate_real_tensors", False)
