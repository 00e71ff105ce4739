"""The precision that products and small quantities are computed in."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# Where torch keeps what a device's float32 products may be rounded to. That of the processor is oneDNN's.
_MATMULS = {"cuda": torch.backends.cuda.matmul, "cpu": torch.backends.mkldnn.matmul}  # type: ignore[attr-defined]
# A table, for Dynamo does not trace `dtype.to_real()`.
_PARTS = {torch.complex128: torch.float64, torch.complex64: torch.float32}


def is_half(dtype: torch.dtype) -> bool:
    """Whether a type has 16 bits."""
    return dtype in (torch.float16, torch.bfloat16)


def real_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of a complex number's parts; a real one itself."""
    return _PARTS.get(dtype, dtype)


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """float32 for half precision, else the dtype itself."""
    return torch.float32 if is_half(dtype) else dtype


def measured(A: Tensor) -> Tensor:
    """A in the type that a last residual is measured in, for it is a small difference of large terms.

    Rounding in the products of XᵖA is of the size of the machine epsilon times A's condition number. On a CPU
    it is float64, elsewhere at least float32: GPUs have float64 at down to 1/64 of float32's speed, or not at
    all.
    """
    if A.device.type != "cpu":
        return A.to(at_least_float32(A.dtype))
    return A.to(torch.complex128 if A.is_complex() else torch.float64)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of norms, moments and coefficients of a tensor of this dtype: real, at least float32."""
    return at_least_float32(real_dtype(dtype))


def without_autocast(A: Tensor) -> contextlib.AbstractContextManager[object]:
    """Autocast would round the inner products to half precision, and with them the fit."""
    device = A.device.type
    # The meta device has no autocast to ask for, and asking whether it has would leave a node in the graph.
    if device != "meta" and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()


@contextlib.contextmanager
def _ieee(matmul: Any, asked: str) -> Iterator[None]:
    # What is only inherited from `torch.backends.fp32_precision` must be inherited afterwards, too.
    matmul.fp32_precision = "none"
    inherited = matmul.fp32_precision == asked
    matmul.fp32_precision = "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = "none" if inherited else asked


def ieee_float32(A: Tensor) -> contextlib.AbstractContextManager[object]:
    """Float32 products on A's device in all 24 bits, under any `torch.set_float32_matmul_precision`.

    With the 11 bits of TF32 a root of condition 1e6 is NaN. This is for eager calls and around calls of
    compiled functions; in a graph that is being compiled it does nothing, for there the setting is the
    caller's at each run. The setting is the process's: other threads see it until it is put back.
    """
    matmul = None if torch.compiler.is_compiling() else _MATMULS.get(A.device.type)
    asked = "ieee" if matmul is None else matmul.fp32_precision
    return contextlib.nullcontext() if asked in ("ieee", "none") else _ieee(matmul, asked)
