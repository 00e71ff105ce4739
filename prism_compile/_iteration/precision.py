"""The precision that small quantities are kept in."""

import torch


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of norms, moments and coefficients of a tensor of this dtype: at least float32."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
