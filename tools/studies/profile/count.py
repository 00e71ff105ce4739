"""Counting what one step of a function executes: matrix products, other kernels, bytes."""

from collections.abc import Callable
from dataclasses import astuple, dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..common.counting import operands, operator_flops


@dataclass(frozen=True)
class Work:
    """Products with every dimension ≥ n and thinner ones, their flops; other kernels; bytes of all."""

    products: int = 0
    product_flops: int = 0
    skinny: int = 0
    skinny_flops: int = 0
    others: int = 0
    bytes: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other))))

    def __sub__(self, other: "Work") -> "Work":
        return Work(*(a - b for a, b in zip(astuple(self), astuple(other))))


class WorkCounter(TorchDispatchMode):
    """Adds up what eager operators do; views and allocations are no work. n: the smaller side of A."""

    def __init__(self, n: int):
        super().__init__()
        self.n = n
        self.work = Work()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        returned = [a for a in tree_leaves(result) if isinstance(a, Tensor)]
        given = [a for a in tree_leaves((args, kwargs)) if isinstance(a, Tensor)]
        packet = function._overloadpacket
        if function.is_view or packet in (torch.ops.aten.detach, torch.ops.aten.empty) or not returned:
            return result
        moved = sum(a.numel() * a.itemsize for a in (*given, *returned))
        flops = operator_flops(function, args, kwargs, result)
        if flops is not None:
            left, right = operands(function, args)
            if min(*left.shape[-2:], right.shape[-1]) >= self.n:
                self.work += Work(products=1, product_flops=flops, bytes=moved)
            else:
                self.work += Work(skinny=1, skinny_flops=flops, bytes=moved)
        else:
            self.work += Work(others=1, bytes=moved)
        return result


def work_of(run: Callable[[], object], n: int) -> Work:
    """What one call does."""
    with WorkCounter(n) as counter:
        run()
    return counter.work


def work_per_step(run: Callable[[int], object], steps: int, n: int) -> Work:
    """What one step that is neither the first nor the last does: `run(steps)` with one step more."""
    steps = max(steps, 2)
    return work_of(lambda: run(steps + 1), n) - work_of(lambda: run(steps), n)


def _size(count: float, unit: str) -> str:
    scale, prefix = next(
        (s, p) for s, p in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, "")) if count >= s or s == 1
    )
    return f"{count / scale:.3g} {prefix}{unit}"


def describe(work: Work, n: int, batch: int) -> str:
    """Two lines: the products, and all kernels of an eager call."""
    cube, flops = 2 * batch * n**3, work.product_flops + work.skinny_flops
    skinny = (
        f"{work.skinny} skinny, {work.skinny_flops / flops if flops else 0:.2%} of {_size(flops, 'FLOP')}"
    )
    operators = work.products + work.skinny + work.others
    return (
        f"products   {work.products} of at least n·n·n = {work.product_flops / cube:.2f}·2n³, {skinny}\n"
        f"eager      {operators} operators, {_size(work.bytes, 'B')} read and written"
    )
