"""The floor under a call: its matrix products alone, on operands allocated beforehand."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..common.counting import operands

SKETCH_SIZE = 8


@dataclass(frozen=True, order=True)
class Product:
    """One matrix product: shapes, which operands are transposed views, and whether both are one matrix."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    transposed: tuple[bool, bool]
    shared: bool


class _Recorder(TorchDispatchMode):
    def __init__(self, thin: int):
        super().__init__()
        self.thin = thin
        self.products: list[Product] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        pair = operands(function, args)
        if pair is not None:
            left, right = pair
            if min(*left.shape[-2:], right.shape[-1]) > self.thin:
                flipped = tuple(a.stride(-1) != 1 and a.stride(-2) == 1 for a in (left, right))
                shared = left.data_ptr() == right.data_ptr()
                self.products.append(Product(tuple(left.shape), tuple(right.shape), flipped, shared))
        return function(*args, **(kwargs or {}))


def recorded_products(run: Callable[[], object], A: Tensor) -> tuple[Product, ...]:
    """The products of an eager call, sorted, but for the sketch's skinny ones."""
    thin = 2 * SKETCH_SIZE if min(A.shape[-2:]) > 2 * SKETCH_SIZE else 0
    with _Recorder(thin) as recorder:
        run()
    return tuple(sorted(recorder.products))


def _operand(shape: tuple[int, ...], transposed: bool, like: Tensor) -> Tensor:
    *batch, rows, columns = shape
    stored = (*batch, columns, rows) if transposed else shape
    A = torch.randn(stored, device=like.device).mul_(columns**-0.5).to(like.dtype)
    return A.mT if transposed else A


def product_floor(products: tuple[Product, ...], like: Tensor) -> Callable[[], None]:
    """The products alone, of `like`'s dtype and device, on operands and into outputs allocated beforehand."""

    @cache
    def operands(product: Product) -> tuple[Tensor, Tensor]:
        left = _operand(product.left, product.transposed[0], like)
        if not product.shared:
            return left, _operand(product.right, product.transposed[1], like)
        return left, left.mT if product.transposed[0] != product.transposed[1] else left

    @cache
    def output(shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape, dtype=like.dtype, device=like.device)

    calls = []
    for product in products:
        multiply = torch.mm if len(product.left) == 2 else torch.bmm
        calls.append((multiply, *operands(product), output((*product.left[:-1], product.right[-1]))))

    def run() -> None:
        for multiply, left, right, out in calls:
            multiply(left, right, out=out)

    return run
