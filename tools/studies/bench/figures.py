"""The figures: each a ratio of two things measured within one run."""

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from statistics import median

import torch
from torch import Tensor

import prism_compile

from ..common import peers
from ..common.launches import launches_table
from ..common.processes import module_command, module_environment
from ..common.timing import (
    Budget,
    Clock,
    Product,
    compiled,
    product_floor,
    ratio,
    recorded_products,
    time_in_turns,
)
from ..demo.measure import orthogonality_error
from .child import SUBJECTS
from .problems import definite, fewest_steps, gaussian, long_tailed, relative_error

_REPEATS = 3
_FURTHER_STEPS = (5, 10)


@dataclass(frozen=True)
class Figure:
    """One line of the table, and what it was made of."""

    what: str
    measured: str
    values: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """Where and how long to measure."""

    device: torch.device
    clock: Clock
    budget: Budget
    mode: str

    def time(self, runs: dict[str, Callable]) -> dict[object, list[float]]:
        """The runs in turns."""
        return time_in_turns(runs, self.clock, self.budget)

    def compile(self, function: Callable, **options) -> Callable[[Tensor], object]:
        """In the first of the modes asked for."""
        return compiled(function, self.mode, **options)


def _ms(times: list[float]) -> float:
    return 1e3 * median(times)


def _floor(function: Callable, A: Tensor, **options) -> Callable[[], None]:
    return product_floor(recorded_products(partial(function, A, **options), A), A)


def _compared(what: str, times: dict, numerator: str, denominator: str, **values) -> Figure:
    """The ratio of two runs with its quartiles, and both medians."""
    spread = ratio(times, numerator, denominator)
    both = f"{_ms(times[numerator]):.2f} ms against {_ms(times[denominator]):.2f}"
    return Figure(what, f"{spread:.2f}  {both}", {"ratio": spread, **values})


def over_products(bench: Bench, shape: tuple[int, ...], dtype: torch.dtype) -> Figure:
    """Five quintic steps over the same products."""
    A = gaussian(shape, dtype, bench.device)
    call = bench.compile(prism_compile.polar, steps=5)
    runs = {"polar": partial(call, A), "products": _floor(prism_compile.polar, A, steps=5)}
    name = f"polar 5 steps, {'x'.join(map(str, shape))} {str(dtype).split('.')[1]} / its products alone"
    return _compared(name, bench.time(runs), "polar", "products")


def over_direct_form(bench: Bench) -> Figure:
    """A tall matrix against the products of the iteration that is written on X itself."""
    A, steps = gaussian((4096, 512), torch.float32, bench.device), 5
    tall, wide, square = (1, 4096, 512), (1, 512, 4096), (1, 512, 512)
    direct = (
        Product(wide, tall, (True, False), True),
        Product(square, square, (False, False), True),
        Product(tall, square, (False, False), False),
    )
    call = bench.compile(prism_compile.polar, steps=steps)
    runs = {"polar": partial(call, A), "direct": product_floor(direct * steps, A)}
    what = "polar 5 steps, 4096x512 float32 / the direct form's products alone: 5 (XᵀX, R², XW)"
    return _compared(what, bench.time(runs), "polar", "direct")


def to_orthogonality(bench: Bench, target: float = 0.1) -> Figure:
    """Equal quality: each at its fewest steps."""
    A = gaussian((1024, 1024), torch.float32, bench.device)
    direct = partial(peers.newton_schulz, table="Polar Express")
    ours = fewest_steps(prism_compile.polar, A, orthogonality_error, target)
    theirs = fewest_steps(direct, A, orthogonality_error, target)
    what = f"polar to rms(1-σ) ≤ {target}, Gaussian 1024x1024 float32 / Polar Express compiled"
    if ours is None or theirs is None:
        return Figure(what, "not reached", {"steps": ours, "peer_steps": theirs})
    what = f"{what} ({ours} steps / {theirs})"
    runs = {
        "polar": partial(bench.compile(prism_compile.polar, steps=ours), A),
        "peer": partial(bench.compile(peers.newton_schulz, table="Polar Express", steps=theirs), A),
    }
    return _compared(what, bench.time(runs), "polar", "peer", steps=ours, peer_steps=theirs)


def _root(bench: Bench, what: str, function: Callable, exact: Callable, A: Tensor, target: float, **bound):
    """A root at its fewest steps against eigh, and against its own products."""
    quality = partial(relative_error, exact=exact(A.cpu().double()))
    steps = fewest_steps(function, A, quality, target, **bound)
    if steps is None:
        return [Figure(f"{what} / eigh", "not reached")]
    runs = {
        "root": partial(bench.compile(function, steps=steps, **bound), A),
        "eigh": partial(exact, A),
        "products": _floor(function, A, steps=steps, **bound),
    }
    times = bench.time(runs)
    error, eigh_error = quality(runs["root"]()), quality(exact(A))
    what = f"{what}, {steps} steps"
    errors = f"(errors {error:.0e}, {eigh_error:.0e})"
    against = {"steps": steps, "error": error, "eigh_error": eigh_error}
    return [
        _compared(f"{what} / linalg.eigh {errors}", times, "root", "eigh", **against),
        _compared(f"{what} / its products alone", times, "root", "products"),
    ]


def square_root(bench: Bench) -> list[Figure]:
    """Both square roots of one matrix."""
    A = definite(512, 1e4, (), bench.device)
    what = "sqrtm_pair to 1e-4, condition 1e4, 512x512 float32"
    return _root(bench, what, prism_compile.sqrtm_pair, peers.eigh_sqrt_pair, A, 1e-4)


def inverse_root(bench: Bench) -> list[Figure]:
    """Shampoo's inverse fourth roots of a batch."""
    A = definite(128, 1e4, (32,), bench.device)
    what = "inv_root p=4 to 1e-3, condition 1e4, 32x128x128 float32"
    exact = partial(peers.eigh_power, exponent=-0.25)
    return _root(bench, what, prism_compile.inv_root, exact, A, 1e-3, p=4)


def newton_steps(bench: Bench, name: str, n: int, condition: float, target: float = 1e-6) -> list[Figure]:
    """All, and the leading one, of the steps with an inverse against polynomials and a decomposition; eager.

    Each with the fewest steps within the target.
    """
    f64, decomposition = torch.float64, "linalg.svd" if name == "polar" else "linalg.eigh"
    function = getattr(prism_compile, name)
    if name == "polar":
        A, exact, quality = (
            long_tailed(n, 1 / condition, f64, bench.device),
            peers.svd_polar,
            orthogonality_error,
        )
    else:
        A, exact = definite(n, condition, (), bench.device, f64), partial(peers.eigh_power, exponent=0.5)
        quality = partial(relative_error, exact=exact(A.cpu()))
    runs, labels = {decomposition: partial(exact, A)}, {decomposition: decomposition}
    mixtures = [{"newton_steps": k} for k in range(9)]
    counts = [fewest_steps(function, A, quality, target, **mixture) for mixture in mixtures]
    # As many Newton steps as bring it there alone.
    alone = next((k for k, steps in enumerate(counts) if k > 0 and steps == k), None)
    for k in (0, 1, alone):
        if k is not None and counts[k] is not None:
            key = "polynomials" if k == 0 else "all Newton" if k == alone else "1 Newton"
            runs[key] = partial(function, A, steps=counts[k], **mixtures[k])
            labels[key] = f"{key}, {counts[k]} steps"
    times = bench.time(runs)
    what = f"{name} to {target:.0e}, condition {condition:.0e}, {n}x{n} float64, eager"
    pairs = [
        (a, b)
        for a in ("1 Newton", "all Newton")
        for b in ("polynomials", decomposition)
        if {a, b} <= runs.keys()
    ]
    return [_compared(f"{what}: {labels[a]} / {labels[b]}", times, a, b) for a, b in pairs]


def eager_over_compiled(bench: Bench, n: int) -> Figure:
    """What the graph is worth."""
    A = gaussian((n, n), torch.float32, bench.device)
    call = bench.compile(prism_compile.polar, steps=5)
    runs = {"eager": partial(prism_compile.polar, A, steps=5), "compiled": partial(call, A)}
    return _compared(f"polar 5 steps, {n}x{n} float32, eager / compiled", bench.time(runs), *runs)


def _child(*words: str) -> object:
    """Run `child.py` with empty caches."""
    with tempfile.TemporaryDirectory() as folder:
        uncached = {"TORCHINDUCTOR_FX_GRAPH_CACHE": "0", "TORCHINDUCTOR_AUTOGRAD_CACHE": "0"}
        environment = module_environment(TORCHINDUCTOR_CACHE_DIR=folder, KINETO_LOG_LEVEL="99", **uncached)
        command = module_command("bench.child", *words, str(torch.get_num_threads()))
        output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def compile_times(bench: Bench, tick: Callable[[str], None]) -> list[Figure]:
    """The first compile in a process and those of further shapes, the methods by turns."""
    taken = {name: [] for name in SUBJECTS}
    for repeat in range(_REPEATS):
        for name in taken:
            tick(f"compile {name}, {repeat + 1} of {_REPEATS}")
            taken[name].append(_child("compile", name, bench.device.type))
    figures = []
    for what, pick in (("first compile", lambda t: t[0]), ("each further shape", lambda t: median(t[1:]))):
        seconds = {name: [pick(run) for run in runs] for name, runs in taken.items()}
        theirs = seconds.pop("Polar Express")
        for name, ours in seconds.items():
            ratio = median(ours) / median(theirs)
            measured = f"{ratio:.2f}  {median(ours):.2f} s against {median(theirs):.2f}"
            values = {"seconds": ours, "peer_seconds": theirs, "ratio": ratio}
            title = f"{name} 5 steps, {what}, no cache / Polar Express compiled"
            figures.append(Figure(title, measured, values))
    return figures


def further_shapes(bench: Bench, tick: Callable[[str], None]) -> list[Figure]:
    """The default rule's compile time over that of rule="polar_express", both warm in one process."""
    taken = {steps: [] for steps in _FURTHER_STEPS}
    for repeat in range(_REPEATS):
        for steps in taken:
            tick(f"compile a further shape, {steps} steps, {repeat + 1} of {_REPEATS}")
            taken[steps].append(_child("further", str(steps), bench.device.type))
    figures = []
    for steps, pairs in taken.items():
        ours, theirs = (list(seconds) for seconds in zip(*pairs))
        ratio = median(a / b for a, b in pairs)
        measured = f"{ratio:.2f}  {median(ours):.2f} s against {median(theirs):.2f}"
        values = {"seconds": ours, "peer_seconds": theirs, "ratio": ratio}
        title = f'polar {steps} steps, a further shape, no cache / polar(rule="polar_express")'
        figures.append(Figure(title, measured, values))
    return figures


def step_launches(bench: Bench) -> list[Figure]:
    """What a further step of a compiled function launches, a figure for each function."""
    return [
        Figure(
            f"{name}, launches of a further step: library + generated kernels",
            f"{step}  {step.sources} new sources",
            asdict(step),
        )
        for name, step in launches_table(bench.device)
    ]


def peak_memory(bench: Bench) -> Figure:
    """In matrices of the input's size."""
    ours, theirs = (_child("memory", name, bench.device.type) for name in ("polar", "Polar Express"))
    what = "polar 5 steps, 2048x2048 float32 compiled, peak extra memory in matrices"
    return Figure(what, f"{ours:.2f}  Polar Express compiled {theirs:.2f}", {"polar": ours, "peer": theirs})


# These report progress themselves, for each child process.
_TICKING = (compile_times, further_shapes)


def _newton_cases(quick: bool) -> list[tuple[str, int, float]]:
    """Function, size and A's own condition."""
    conditions = {"sqrtm": (1e2, 1e4, 1e8, 1e12), "polar": (1e1, 1e2, 1e4, 1e8)}
    if quick:
        return [(name, 256, condition) for name, each in conditions.items() for condition in each[1::2]]
    return [(name, 512, condition) for name, each in conditions.items() for condition in each]


def measure_figures(bench: Bench, quick: bool, progress: Callable[[str, int], None]) -> list[Figure]:
    """All of them in order; `progress(note, ticks)` is told of each before it starts."""
    f32, bf16 = torch.float32, torch.bfloat16
    cases = (((1024, 1024), f32), ((256, 256), f32), ((64, 64, 64), f32), ((512, 512), bf16))
    jobs = [partial(over_products, bench, *case) for case in (cases[1:2] if quick else cases)]
    if not quick:
        jobs += [
            partial(job, bench) for job in (over_direct_form, to_orthogonality, square_root, inverse_root)
        ]
    jobs += [partial(newton_steps, bench, *case) for case in _newton_cases(quick)]
    jobs += [partial(eager_over_compiled, bench, n) for n in ((256,) if quick else (256, 512, 1024))]
    if not quick:
        jobs += [partial(job, bench, lambda note: progress(note, 1)) for job in _TICKING]
        jobs += [partial(step_launches, bench), partial(peak_memory, bench)]
    figures = []
    for job in jobs:
        if job.func not in _TICKING:
            progress(f"figure: {job.func.__name__.replace('_', ' ')}", 1)
        made = job()
        figures += [made] if isinstance(made, Figure) else made
        torch._dynamo.reset()
    return figures


def figure_ticks(quick: bool) -> int:
    """How often `measure_figures` reports progress."""
    children = (len(SUBJECTS) + len(_FURTHER_STEPS)) * _REPEATS
    newton = len(_newton_cases(quick))
    return 2 + newton if quick else 4 + 4 + newton + 3 + children + 2
