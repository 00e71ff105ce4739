"""On a processor what `set_float32_matmul_precision("high")` makes of float32 products on a GPU."""

import contextlib

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
# Which arguments of a product are multiplied.
_FACTORS = {_aten.mm.default: (0, 1), _aten.bmm.default: (0, 1)}
_FACTORS |= {_aten.addmm.default: (1, 2), _aten.baddbmm.default: (1, 2)}


def rounded(A: torch.Tensor) -> torch.Tensor:
    """float32 A with 10 bits after the point."""
    return ((A.contiguous().view(torch.int32) + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32)


class TF32(TorchDispatchMode):
    """Rounds the factors of float32 products where the setting of this process asks for it, or always."""

    def __init__(self, always: bool = False):
        super().__init__()
        self.always = always

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        asked = self.always or torch.backends.mkldnn.matmul.fp32_precision == "tf32"
        factors = _FACTORS.get(function, ()) if asked else ()
        args = [rounded(a) if k in factors and a.dtype == torch.float32 else a for k, a in enumerate(args)]
        return function(*args, **(kwargs or {}))


@contextlib.contextmanager
def matmul_precision(precision: str):
    """`torch.set_float32_matmul_precision` for a while."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
