"""The precision that products and small quantities are computed in."""

import contextlib

import torch
from torch import Tensor


def is_half(dtype: torch.dtype) -> bool:
    """Whether a type has 16 bits."""
    return dtype in (torch.float16, torch.bfloat16)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of norms, moments and coefficients of a tensor of this dtype: at least float32."""
    return torch.float32 if is_half(dtype) else dtype


def without_autocast(A: Tensor) -> contextlib.AbstractContextManager[object]:
    """Autocast would round the inner products to half precision, and with them the fit."""
    device = A.device.type
    # The meta device has no autocast to ask for, and asking whether it has would leave a node in the graph.
    if device != "meta" and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()
