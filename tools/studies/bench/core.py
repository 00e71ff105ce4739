"""Ways to compute something, timed in turns beside their matrix products alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..common.compiling import compiled
from ..common.counting import matrix_products, operands
from ..common.progress import note
from ..common.timing import Budget, Clock, Spread, ratio, time_in_turns

_SKETCH_SIZE = 8


@dataclass(frozen=True)
class Bench:
    """Where, in which mode of torch.compile and how long to measure."""

    device: torch.device
    mode: str
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


@dataclass(frozen=True)
class Product:
    """One matrix product: shapes, which operands are transposed views, and whether both are one matrix."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    transposed: tuple[bool, ...]
    shared: bool


class _Recorder(TorchDispatchMode):
    def __init__(self, thin: int):
        super().__init__()
        self.thin = thin
        self.products: list[Product] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        pair = operands(function, args)
        if pair is not None and min(*pair[0].shape[-2:], pair[1].shape[-1]) > self.thin:
            flipped = tuple(a.stride(-1) != 1 and a.stride(-2) == 1 for a in pair)
            shared = pair[0].data_ptr() == pair[1].data_ptr()
            self.products.append(Product(*(tuple(a.shape) for a in pair), flipped, shared))
        return function(*args, **(kwargs or {}))


def recorded_products(run: Callable[[], object], A: Tensor) -> tuple[Product, ...]:
    """The products of an eager call, sorted, but for the skinny ones of a sketch."""
    thin = 2 * _SKETCH_SIZE if min(A.shape[-2:]) > 2 * _SKETCH_SIZE else 0
    with _Recorder(thin) as recorder:
        run()
    return tuple(sorted(recorder.products, key=str))


def product_floor(products: tuple[Product, ...], like: Tensor) -> Callable[[], None]:
    """The products alone, of `like`'s dtype and device, on operands and into outputs allocated beforehand."""

    def operand(shape: tuple[int, ...], transposed: bool) -> Tensor:
        *batch, rows, columns = shape
        stored = (*batch, columns, rows) if transposed else shape
        A = torch.randn(stored, device=like.device).mul_(columns**-0.5).to(like.dtype)
        return A.mT if transposed else A

    @cache
    def pair(product: Product) -> tuple[Tensor, Tensor]:
        left = operand(product.left, product.transposed[0])
        if not product.shared:
            return left, operand(product.right, product.transposed[1])
        return left, left.mT if product.transposed[0] != product.transposed[1] else left

    output = cache(partial(torch.empty, dtype=like.dtype, device=like.device))
    calls = []
    for product in products:
        multiply = torch.mm if len(product.left) == 2 else torch.bmm
        calls.append((multiply, *pair(product), output((*product.left[:-1], product.right[-1]))))

    def run() -> None:
        for multiply, left, right, out in calls:
            multiply(left, right, out=out)

    return run


def _kept(result: object) -> object:
    """Copies that a further run of a CUDA graph cannot overwrite."""
    return result.clone() if isinstance(result, Tensor) else tuple(part.clone() for part in result)


@dataclass(frozen=True)
class Timed:
    """A method's result, and its seconds and those of its products by round."""

    method: Method
    result: object
    products: float | None
    seconds: list[float]
    floor: list[float] | None

    @property
    def ms(self) -> Spread:
        return Spread.of([1e3 * second for second in self.seconds])

    @property
    def over_products(self) -> Spread | None:
        return (
            None if self.floor is None else ratio({"own": self.seconds, "floor": self.floor}, "own", "floor")
        )

    def over(self, other: "Timed") -> Spread:
        return ratio({"own": self.seconds, "other": other.seconds}, "own", "other")

    def cells(self) -> tuple[str, ...]:
        """Name, steps, products, ms and time over that of the products."""
        steps, over = self.method.options.get("steps"), self.over_products
        return (
            self.method.name,
            "-" if steps is None else str(steps),
            "-" if self.products is None else f"{self.products:.1f}",
            f"{self.ms:.2f}",
            "-" if over is None else f"{over:.2f}",
        )


CELLS = ("method", "steps", "products", "ms", "/products")


def compare(bench: Bench, A: Tensor, methods: list[Method]) -> list[Timed]:
    """The methods and, once for each list of products, these products, all in turns; without what fails."""
    runs, found = {}, []
    for place, method in enumerate(methods):
        call = eager = partial(method.function, A, **method.options)
        if method.compile:
            call = partial(compiled(method.function, bench.mode, **method.options), A)
        try:
            result = _kept(call())
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


def fewest_steps(
    function: Callable,
    A: Tensor,
    quality: Callable[[object], float],
    target: float,
    most: int = 30,
    **options,
) -> int | None:
    """Fewest steps whose result is within the target, run eagerly."""
    for steps in range(max(1, options.get("newton_steps", 0)), most + 1):
        if quality(function(A, steps=steps, **options)) <= target:
            return steps
    return None
