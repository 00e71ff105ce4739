"""Ways to compute something, timed in turns beside their matrix products alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..common.counting import matrix_products, operands
from ..common.results import note
from ..common.timing import Budget, Clock, Spread, compiled, ratio, time_in_turns

_SKETCH_SIZE = 8


class Bench(NamedTuple):
    """Where and how long to measure; quick: little of each part."""

    device: torch.device
    budget: Budget
    quick: bool

    def time(self, runs: dict) -> dict:
        """The runs in turns."""
        return time_in_turns(runs, Clock(self.device), self.budget)


@dataclass(frozen=True)
class Method:
    """One way: a function with its options.

    compile: whether as a graph. counted: whether its matrix products are its work, which a decomposition's
    are not.
    """

    name: str
    function: Callable[..., object]
    options: dict = field(default_factory=dict)
    compile: bool = True
    counted: bool = True


class Product(NamedTuple):
    """One matrix product: shape and strides of its operands, and whether these are one matrix."""

    left: tuple[tuple[int, ...], tuple[int, ...]]
    right: tuple[tuple[int, ...], tuple[int, ...]]
    shared: bool


class _Recorder(TorchDispatchMode):
    def __init__(self, thin: int):
        super().__init__()
        self.thin = thin
        self.products: list[Product] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        pair = operands(function, args)
        if pair is not None and min(*pair[0].shape[-2:], pair[1].shape[-1]) > self.thin:
            left, right = ((tuple(a.shape), a.stride()) for a in pair)
            self.products.append(Product(left, right, pair[0].data_ptr() == pair[1].data_ptr()))
        return function(*args, **(kwargs or {}))


def recorded_products(run: Callable[[], object], A: Tensor) -> tuple[Product, ...]:
    """The products of an eager call, sorted, but for the skinny ones of a sketch."""
    thin = 2 * _SKETCH_SIZE if min(A.shape[-2:]) > 2 * _SKETCH_SIZE else 0
    with _Recorder(thin) as recorder:
        run()
    return tuple(sorted(recorder.products))


def product_floor(products: tuple[Product, ...], like: Tensor) -> Callable[[], None]:
    """The products alone, of `like`'s dtype and device, on operands and into outputs allocated beforehand."""
    empty = {"dtype": like.dtype, "device": like.device}

    @cache
    def pair(product: Product) -> tuple[Tensor, Tensor]:
        left, right = (
            torch.empty_strided(*of, **empty).normal_(std=of[0][-1] ** -0.5)
            for of in (product.left, product.right)
        )
        return left, left.as_strided(*product.right) if product.shared else right

    output = cache(partial(torch.empty, **empty))
    calls = []
    for product in products:
        (shape, _), (other, _) = product.left, product.right
        multiply = torch.mm if len(shape) == 2 else torch.bmm
        calls.append((multiply, *pair(product), output((*shape[:-1], other[-1]))))

    def run() -> None:
        for multiply, left, right, out in calls:
            multiply(left, right, out=out)

    return run


class Timed(NamedTuple):
    """A method's result, and its seconds and those of its products by round."""

    method: Method
    result: object
    products: float | None
    seconds: list[float]
    floor: list[float] | None

    @property
    def ms(self) -> Spread:
        return Spread.of([1e3 * second for second in self.seconds])

    def cells(self) -> tuple[str, ...]:
        """Name, steps, products, ms and time over that of the products."""
        return (
            self.method.name,
            str(self.method.options.get("steps", "-")),
            "-" if self.products is None else f"{self.products:.1f}",
            f"{self.ms:.2f}",
            "-" if self.floor is None else f"{ratio(self.seconds, self.floor):.2f}",
        )


CELLS = ("method", "steps", "products", "ms", "/products")


def compare(bench: Bench, A: Tensor, methods: list[Method]) -> list[Timed]:
    """The methods and, once for each list of products, these products, all in turns; without what fails."""
    runs, found = {}, []
    for place, method in enumerate(methods):
        call = eager = partial(method.function, A, **method.options)
        if method.compile:
            call = partial(compiled(method.function, **method.options), A)
        try:
            result = call()
        except RuntimeError as error:
            # A decomposition that a device has not, or no memory for.
            note(f"left out: {method.name}: {str(error).splitlines()[0]}")
            continue
        runs[place], count, products = call, None, None
        if method.counted:
            count, products = matrix_products(eager, A.shape), recorded_products(eager, A)
            runs.setdefault(products, product_floor(products, A))
        found.append((place, method, result, count, products))
    times = bench.time(runs)
    # The next problem's graphs are not to be held beside this one's.
    torch._dynamo.reset()
    return [
        Timed(method, result, count, times[place], times.get(products))
        for place, method, result, count, products in found
    ]
