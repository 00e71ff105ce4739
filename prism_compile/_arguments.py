"""Checks of matrix arguments, and the batch shape that the iterations work on."""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor

from ._iteration.scaling import accumulation_dtype
from ._options import Options
from ._results import History

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def check_matrix(A: object, *, square: bool = False) -> None:
    """Refuse what is no matrix, or no square one, with an error that says what it was."""
    if not isinstance(A, Tensor):
        raise TypeError(f"A must be a torch.Tensor, got {type(A).__name__}")
    if A.dtype not in DTYPES:
        allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        raise TypeError(f"A must be real and floating-point ({allowed}), got {A.dtype}")
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


def _without_autocast(A: Tensor) -> contextlib.AbstractContextManager:
    """Autocast would round the inner products to half precision, and with them the fit."""
    if torch.is_autocast_enabled(A.device.type):
        return torch.autocast(A.device.type, enabled=False)
    return contextlib.nullcontext()


def run_on_batch(
    solver: Callable, A: Tensor, options: Options, *, half_native: bool = False
) -> Tensor | tuple:
    """Call `solver(A [b, m, n], options) -> (result, History | None)` and restore A's batch shape.

    Half precision is computed in float32 and rounded at the end unless `half_native`. The result is a
    tensor or a named tuple of tensors; with `options.history` it comes as `(result, History)`.
    """
    shape, dtype = A.shape[:-2], A.dtype
    with _without_autocast(A):
        batch = A[None] if A.ndim == 2 else A.flatten(0, -3)
        if not half_native:
            batch = batch.to(accumulation_dtype(dtype))
        result, history = solver(batch, options)

    def restore(tensor: Tensor) -> Tensor:
        return tensor.reshape(*shape, *tensor.shape[1:])

    if isinstance(result, tuple):
        result = type(result)(*(restore(part).to(dtype) for part in result))
    else:
        result = restore(result).to(dtype)
    return (result, History(*map(restore, history))) if options.history else result
