"""Time and peak memory of a backward pass, unrolled against dual, eager and compiled."""

import argparse
import warnings
from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import prism_compile

_FUNCTIONS = {name: getattr(prism_compile, name) for name in ("inv_sqrtm", "sqrtm", "signm", "inv", "polar")}
_MODES = ("unrolled", "dual")


def covariance(n: int, condition: float) -> Tensor:
    """A symmetric matrix with log-spaced eigenvalues."""
    generator = torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=generator))[0]
    values = torch.tensor(condition, dtype=torch.float64) ** -torch.linspace(0, 1, n, dtype=torch.float64)
    A = (Q * values) @ Q.T
    return ((A + A.T) / 2).float()


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory that the work held at once beyond what was there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        kept = work()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    del kept
    return peak


def backward(call: Callable[[Tensor], Tensor], A: Tensor, G: Tensor) -> Tensor:
    """The gradient of ⟨G, f(A)⟩."""
    leaf = A.clone().requires_grad_()
    return torch.autograd.grad(call(leaf), leaf, G)[0]


def compare(name: str, calls: dict[str, Callable], A: Tensor, G: Tensor, repeats: int) -> None:
    """Print a row per mode; the runs are interleaved."""
    gradients = {mode: backward(call, A, G) for mode, call in calls.items()}
    times = {mode: [] for mode in calls}
    for _ in range(repeats):
        for mode, call in calls.items():
            start = perf_counter()
            backward(call, A, G)
            times[mode].append(perf_counter() - start)
    peaks = {mode: peak_bytes(lambda call=call: backward(call, A, G)) for mode, call in calls.items()}
    size = A.numel() * A.element_size()
    reference = gradients["unrolled"]
    for mode in calls:
        difference = ((gradients[mode] - reference).norm() / reference.norm()).item()
        figures = f"{median(times[mode]) * 1e3:9.0f} {peaks[mode] / size:9.1f} {difference:11.1e}"
        print(f"{name:<9} {mode:<9} {figures}")
    ratio = median(d / u for d, u in zip(times["dual"], times["unrolled"]))
    print(f"{name:<9} dual/unrolled {ratio:5.2f} {peaks['dual'] / peaks['unrolled']:9.2f}", flush=True)


def main() -> None:
    """Compare the modes eagerly and compiled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("function", nargs="?", default="inv_sqrtm", choices=_FUNCTIONS)
    parser.add_argument("--n", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--condition", type=float, default=1e3)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    # torch's own deprecations, raised while it compiles, are not the reader's concern.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
    A = covariance(arguments.n, arguments.condition)
    G = torch.randn(A.shape, generator=torch.Generator().manual_seed(1))
    function = _FUNCTIONS[arguments.function]

    def call(mode: str) -> Callable[[Tensor], Tensor]:
        return lambda A: function(A, steps=arguments.steps, gradient=mode)

    print(f"{arguments.function}, {arguments.n}², {arguments.steps} steps, float32: forward and backward")
    print(f"{'':<9} {'gradient':<9} {'ms':>9} {'matrices':>9} {'difference':>11}")
    eager = {mode: call(mode) for mode in _MODES}
    compare("eager", eager, A, G, arguments.repeats)
    compiled = {mode: torch.compile(f, fullgraph=True) for mode, f in eager.items()}
    compare("compiled", compiled, A, G, arguments.repeats)


if __name__ == "__main__":
    main()
