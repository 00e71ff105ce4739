"""Products, norms and the identity, for batches `[b, m, n]`."""

from collections.abc import Callable

import torch
from torch import Tensor

from .precision import accumulation_dtype


def adjoint(A: Tensor) -> Tensor:
    """Aᴴ of each matrix; of a real one Aᵀ, and no further operation."""
    return A.transpose(-1, -2).conj() if A.is_complex() else A.transpose(-1, -2)


def symmetric(A: Tensor) -> Tensor:
    """(A + Aᴴ)/2, halved before the sum, which would overflow."""
    return A / 2 + adjoint(A) / 2


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


def plus_product(C: Tensor, A: Tensor, B: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta·C + alpha·A B, for C `[b, m, n]` or `[m, n]`.

    Added in the product's accumulator, which halves half-precision error.
    """
    if A.device.type == "cuda" and A.shape[0] == 1:
        # One operation in half precision. In others, and of batches, torch first copies C to the result.
        C = C if C.ndim == 2 else C.squeeze(0)
        return torch.addmm(C, A.squeeze(0), B.squeeze(0), beta=beta, alpha=alpha).unsqueeze(0)
    return torch.baddbmm(C, A, B, beta=beta, alpha=alpha)


def identity_minus(identity: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """I - left right, rounded once."""
    return plus_product(identity, left, right, alpha=-1)


# On CUDA torch has other libraries than MAGMA, which waits for the device and which no CUDA graph captures,
# factor matrices of up to 16 rows, up to 16 matrices of up to 128 rows, and any single one.
_ALWAYS, _FEW, _FEW_ROWS = 16, 16, 128


def _in_parts(function: Callable[[Tensor], Tensor], A: Tensor) -> Tensor:
    """A function by LU of each matrix, of so many at once that nothing waits for the device."""
    if A.device.type == "cuda" and A.shape[-1] > _ALWAYS:
        at_once = _FEW if A.shape[-1] <= _FEW_ROWS else 1
        if A.shape[0] > at_once:
            return torch.cat([function(part) for part in A.split(at_once)])
    return function(A)


def _inverse_or_nan(A: Tensor) -> Tensor:
    found: Tensor
    found, failed = torch.linalg.inv_ex(A)
    return found.masked_fill((failed != 0).reshape(-1, 1, 1), float("nan"))


def inverse(A: Tensor) -> Tensor:
    """A⁻¹ of each matrix, NaN of a singular one; that it is singular is not read back from the device."""
    return _in_parts(_inverse_or_nan, A)


def determinant(A: Tensor) -> Tensor:
    """det A of each matrix, `[b, 1, 1]`; no derivative flows through it."""
    return _in_parts(torch.linalg.det, A.detach())[:, None, None]


def commutator(A: Tensor, X: Tensor) -> tuple[Tensor, Tensor]:
    """AX - XA, and AX: two products."""
    AX = torch.bmm(A, X)
    return plus_product(AX, X, A, alpha=-1), AX


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


def trace(A: Tensor) -> Tensor:
    """The real part of the trace of each square matrix, `[b, 1, 1]`."""
    return diagonal(A.real if A.is_complex() else A).sum(-1)[:, None, None]


def frobenius_norm(A: Tensor) -> Tensor:
    """‖A‖_F of each matrix, `[b, 1, 1]`, accumulated in at least float32; a constant to derivatives."""
    dtype = accumulation_dtype(A.dtype)
    norm: Tensor = torch.linalg.vector_norm(real_entries(A.detach()), dim=(-2, -1), keepdim=True, dtype=dtype)
    return norm


def _is_symbol(size: int) -> bool:
    """Whether a size is one that a graph leaves open."""
    if not (torch.compiler.is_compiling() or isinstance(size, torch.SymInt)):
        return False
    # Not above, for it takes half a second to import.
    from torch.fx.experimental.symbolic_shapes import has_static_value

    return not has_static_value(size)


def is_known(condition: bool | torch.SymBool) -> bool:
    """Whether a condition on sizes holds; not where a graph leaves it open, for sizes known at run time."""
    if not torch.compiler.is_compiling() and isinstance(condition, bool):
        return condition
    # Not above, for it takes half a second to import.
    from torch.fx.experimental.symbolic_shapes import guard_or_false

    return guard_or_false(condition)


def inverse_root_of(size: int, like: Tensor) -> float | Tensor:
    """size^(-1/2), 1 of none; of a symbol a tensor of like's real type.

    A power of the symbol itself would be one in float64 for each element that it multiplies.
    """
    if _is_symbol(size):
        return torch.full((), torch.sym_max(size, 1), dtype=like.dtype, device=like.device).rsqrt()
    return float(max(size, 1) ** -0.5)


def rms_norm(residual: Tensor) -> Tensor:
    """‖R‖_F/√n of each matrix, `[b]`; no derivative flows through it."""
    norm = frobenius_norm(residual.detach())
    return (norm * inverse_root_of(residual.shape[-1], norm))[:, 0, 0]


def rms_of_root(A: Tensor, X: Tensor, p: int) -> Tensor:
    """The larger of the rms norms of I - AXᵖ and I - XᵖA, `[b]`."""
    right, left, identity = A, A, identity_like(A)
    while p % 2 == 0:
        X, p = torch.bmm(X, X), p // 2
    for _ in range(p):
        right, left = torch.bmm(right, X), torch.bmm(X, left)
    return torch.maximum(rms_norm(identity - right), rms_norm(identity - left))
