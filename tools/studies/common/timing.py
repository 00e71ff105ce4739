"""Calls as compiled graphs, timed in turns, and the memory that they hold.

`torch.utils.benchmark.Timer` measures one call at a time, and runs it twice before each measurement: a slow
spell of the machine falls on one method. Here rounds of all methods share it.
"""

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from statistics import median, quantiles
from time import perf_counter, thread_time

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

_LEAST_ROUNDS, _MOST_ROUNDS = 3, 300


@dataclass(frozen=True)
class Spread:
    """A sample's median and quartiles."""

    lower: float
    median: float
    upper: float

    @classmethod
    def of(cls, sample: list[float]) -> "Spread":
        return cls(*quantiles(sample, n=4, method="inclusive"))

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.lower:{spec}}-{self.upper:{spec}})"


@dataclass(frozen=True)
class Budget:
    """Rounds go on until each method has run for `seconds` on average, but for no fewer than `rounds`."""

    seconds: float = 0.6
    rounds: int = 5
    patience: float = 15.0


def of_rounds(rounds: int) -> Budget:
    """So many, however long they take."""
    return Budget(0.0, rounds, inf)


def now() -> float:
    """Seconds; with one thread those of its processor, of which a busy machine takes less."""
    return thread_time() if torch.get_num_threads() == 1 else perf_counter()


class Clock:
    """Seconds that a call takes on a device."""

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.cuda = self.device.type == "cuda"

    def __call__(self, run: Callable[[], object]) -> float:
        if not self.cuda:
            start = now()
            run()
            return now() - start
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


def ratio(numerator: list[float], denominator: list[float]) -> Spread:
    """Of two runs, round by round, so that a slow spell of the machine cancels."""
    return Spread.of([a / b for a, b in zip(numerator, denominator)])


def median_ms(runs: dict, rounds: int, clock: Clock | None = None) -> dict[object, float]:
    """Median milliseconds of each of some runs, taken in turns."""
    times = time_in_turns(runs, clock or Clock(), of_rounds(rounds))
    return {name: 1e3 * median(taken) for name, taken in times.items()}


def compiled(function: Callable, **options) -> Callable[[Tensor], object]:
    """The function with its options bound, as one static graph.

    The wrapper has a code object of its own: graphs are cached per code object, and one that is shared by
    many variants would be searched at every call.
    """

    def call(A: Tensor):
        return function(A, **options)

    call.__code__ = call.__code__.replace()
    return torch.compile(call, fullgraph=True, dynamic=False)


def quiet_torch() -> None:
    """Let torch's own deprecations, raised while it compiles, pass in silence."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", module="torch")


def peak_bytes(work: Callable[[], object], device: str = "cpu") -> int:
    """The most memory held at once beyond what was there before: by torch's profiler, or CUDA's allocator."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        kept = work()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    del kept
    return peak
