"""Checks of matrix arguments."""

import torch
from torch import Tensor

from .numbers import check_number

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex128, torch.complex64)


def check_matrix(A: object, *, square: bool = False) -> None:
    """Refuse what is no matrix, or no square one, with an error that says what it was."""
    if not isinstance(A, Tensor):
        raise TypeError(f"A must be a torch.Tensor, got {type(A).__name__}")
    if A.layout is not torch.strided or A.is_nested:
        kind = "a nested tensor" if A.is_nested else f"layout {A.layout}"
        raise TypeError(f"A must be a dense torch.Tensor (layout torch.strided), got {kind}")
    if A.dtype not in DTYPES:
        allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        raise TypeError(f"A must be floating-point or complex ({allowed}), got {A.dtype}")
    if A.ndim < 2:
        raise ValueError(f"A must have at least 2 dimensions [..., m, n], got shape {tuple(A.shape)}")
    if square and A.shape[-1] != A.shape[-2]:
        raise ValueError(f"A must be square [..., n, n], got shape {tuple(A.shape)}")


def check_damping(eps: object) -> float:
    """The damping as a Python number; refuses what is no non-negative number."""
    eps = check_number("eps", eps, "≥ 0")
    if not 0 <= eps < float("inf"):
        raise ValueError(f"eps must be finite and ≥ 0, got {eps}")
    return eps
