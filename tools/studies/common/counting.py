"""Matrix products, as counted flops over 2n³."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

_aten = torch.ops.aten
# The place of the left operand in the arguments.
_PRODUCTS = {_aten.mm: 0, _aten.bmm: 0, _aten.addmm: 1, _aten.baddbmm: 1}


def flops(run: Callable[[], object]) -> int:
    """Of the products of an eager call, the sketch's skinny ones included."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def matrix_products(run: Callable[[], object], shape: torch.Size) -> float:
    """Flops over 2n³, those of an n·n·n product, per matrix of `shape` `[..., m, n]`, n the smaller side."""
    return flops(run) / (2 * min(shape[-2:]) ** 3 * shape[:-2].numel())


def operator_flops(function, args: tuple, kwargs: dict, result: object) -> int | None:
    """Of one operator, None where it is no product; what is written in place computes as much."""
    packet = getattr(torch.ops.aten, function._overloadpacket.__name__.rstrip("_"), None)
    if function.namespace != "aten" or packet not in flop_registry:
        return None
    return flop_registry[packet](*args, **kwargs, out_val=result)


def operands(function, args: tuple) -> tuple[Tensor, Tensor] | None:
    """The two matrices that an operator multiplies, None where it is no product."""
    place = _PRODUCTS.get(function._overloadpacket)
    return None if place is None else args[place : place + 2]


class Operators(TorchDispatchMode):
    """Counts the operators that compute something: no views, no allocations."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        idle = function.is_view or function._overloadpacket in (_aten.detach, _aten.empty)
        self.count += not idle
        return function(*args, **(kwargs or {}))
