"""Checks of matrix arguments."""

import torch
from torch import Tensor

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex128, torch.complex64)


def check_matrix(A: object, *, square: bool = False) -> None:
    """Refuse what is no matrix, or no square one, with an error that says what it was."""
    if not isinstance(A, Tensor):
        raise TypeError(f"A must be a torch.Tensor, got {type(A).__name__}")
    if A.dtype not in DTYPES:
        allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        raise TypeError(f"A must be floating-point or complex ({allowed}), got {A.dtype}")
    if A.ndim < 2:
        raise ValueError(f"A must have at least 2 dimensions [..., m, n], got shape {tuple(A.shape)}")
    if square and A.shape[-1] != A.shape[-2]:
        raise ValueError(f"A must be square [..., n, n], got shape {tuple(A.shape)}")


def check_damping(eps: object) -> None:
    """Refuse a damping that is no non-negative number."""
    if isinstance(eps, bool) or not isinstance(eps, (int, float)):
        raise TypeError(f"eps must be a number ≥ 0, got {eps!r} of type {type(eps).__name__}")
    if not 0 <= eps < float("inf"):
        raise ValueError(f"eps must be finite and ≥ 0, got {eps}")
