"""Timing calls in turns, and the floor under each: its matrix products alone."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import median, quantiles
from time import perf_counter

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

_aten = torch.ops.aten
_PRODUCTS = {_aten.mm: 0, _aten.bmm: 0, _aten.addmm: 1, _aten.baddbmm: 1}
SKETCH_SIZE = 8
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 300


@dataclass(frozen=True)
class Spread:
    """Order statistics of a sample."""

    low: float
    lower: float
    median: float
    upper: float
    high: float

    @classmethod
    def of(cls, sample: list[float]) -> "Spread":
        """The extremes, quartiles and median."""
        lower, _, upper = quantiles(sample, n=4, method="inclusive")
        return cls(min(sample), lower, median(sample), upper, max(sample))

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.lower:{spec}}-{self.upper:{spec}})"


@dataclass(frozen=True)
class Budget:
    """Rounds go on until each method has run for `seconds` on average, but for no fewer than `rounds`."""

    seconds: float = 0.6
    rounds: int = 5
    patience: float = 15.0


class Clock:
    """Seconds that a call takes on a device."""

    def __init__(self, device: torch.device):
        self.device = device
        self.cuda = device.type == "cuda"

    def __call__(self, run: Callable[[], object]) -> float:
        if not self.cuda:
            start = perf_counter()
            run()
            return perf_counter() - start
        # A graph's outputs may be overwritten only once a new iteration is declared.
        torch.compiler.cudagraph_mark_step_begin()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(self.device)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize(self.device)
        return start.elapsed_time(end) / 1e3


def time_in_turns(runs: dict, clock: Clock, budget: Budget) -> dict[object, list[float]]:
    """Seconds of each run, a list over rounds; every round takes all of them in a fresh random order."""
    for run in runs.values():
        # CUDA graphs are captured in the second and third run.
        for _ in range(3 if clock.cuda else 1):
            clock(run)
    shuffle = random.Random(0).shuffle
    times = {name: [] for name in runs}
    began = perf_counter()
    for done in range(_MOST_ROUNDS):
        elapsed = perf_counter() - began
        enough = budget.rounds if elapsed < budget.patience else _LEAST_ROUNDS
        if done >= enough and elapsed >= budget.seconds * len(runs):
            break
        order = list(runs)
        shuffle(order)
        for name in order:
            times[name].append(clock(runs[name]))
    return times


def ratio(times: dict, numerator: object, denominator: object) -> Spread:
    """The ratio of two runs, round by round, so that a slow spell of the machine cancels."""
    return Spread.of([a / b for a, b in zip(times[numerator], times[denominator])])


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
        offset = _PRODUCTS.get(function._overloadpacket)
        if offset is not None:
            left, right = args[offset : offset + 2]
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


def counted_products(run: Callable[[], object], A: Tensor) -> float:
    """Counted flops of a call over 2mn², those of forming the Gram matrix of A's shape, n ≤ m."""
    with FlopCounterMode(display=False) as counter:
        run()
    m, n = max(A.shape[-2:]), min(A.shape[-2:])
    return counter.get_total_flops() / (2 * m * n * n * A[..., 0, 0].numel())


def compiled(function: Callable, mode: str = "default", **options) -> Callable[[Tensor], object]:
    """The function with its options bound, as one static graph.

    The wrapper has a code object of its own: graphs are cached per code object, and one that is shared by
    many variants would be searched at every call.
    """

    def call(A: Tensor):
        return function(A, **options)

    call.__code__ = call.__code__.replace()
    return torch.compile(call, fullgraph=True, dynamic=False, mode=None if mode == "default" else mode)
