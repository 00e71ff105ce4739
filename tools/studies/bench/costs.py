"""What a graph costs beside its time: compiling, memory, launches, and a backward pass.

Compile times and memory are of processes of their own with empty caches: `python -m studies.bench.costs
compile RULE STEPS DEVICE THREADS` is one, or `memory` in place of `compile`; it prints JSON.
"""

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from statistics import median
from time import perf_counter

import torch

import prism_compile
from prism_compile import polar

from ..common import RULES, peers
from ..common.counting import further_step
from ..common.matrices import definite, gram, relative_error
from ..common.results import format_table, note, show_progress
from ..common.timing import compiled, peak_bytes, quiet_torch
from .core import Bench

_REPEATS = 3
_SHAPES = ((512, 512), (1024, 256), (384, 384))
_REFERENCE, PEER = "polar_express", "peer Polar Express"
_COMPILED = ("adaptive", "minimax", "prism", PEER)
# What launches are counted of: the function, its options, and the number of steps before the further one;
# "adaptive" looks at the spectrum in fewer than 8.
_LAUNCHED = (
    *(("polar", {"rule": rule}, 5) for rule in RULES[:4]),
    *(("polar", {"rule": rule}, 10) for rule in RULES[:2]),
    *((name, {}, 10) for name in ("signm", "inv_sqrtm", "inv")),
    *(("inv_root", {"p": 4}, steps) for steps in (5, 10)),
)


def _subject(name: str, steps: int):
    if name == PEER:
        return compiled(peers.newton_schulz, table="Polar Express", steps=steps)
    return compiled(polar, rule=name, steps=steps)


def compile_seconds(name: str, steps: int, device: str) -> tuple[float, float, float]:
    """Seconds of the first call; and to compile further shapes by the rule and by the reference.

    The last two in turns, so that neither is the one that finds torch warm; milliseconds are the calls' own.
    """
    calls, times = {name: _subject(name, steps), "reference": _subject(_REFERENCE, steps)}, []
    for shape in _SHAPES:
        for call in calls.values():
            A = torch.randn(shape, device=device)
            start = perf_counter()
            call(A)
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(perf_counter() - start)
    return times[0], median(times[2::2]), median(times[3::2])


def extra_matrices(name: str, steps: int, device: str, n: int = 2048) -> float:
    """The most memory held at once during a compiled call, beyond its input, in matrices like the input."""
    call, A = _subject(name, steps), torch.randn(n, n, device=device)
    call(A)
    return peak_bytes(partial(call, A), device) / (A.numel() * A.element_size())


def _child(what: str, name: str, steps: int, bench: Bench):
    with tempfile.TemporaryDirectory() as folder:
        caches = {"TORCHINDUCTOR_FX_GRAPH_CACHE": "0", "TORCHINDUCTOR_AUTOGRAD_CACHE": "0"}
        environment = {**os.environ, **caches, "TORCHINDUCTOR_CACHE_DIR": folder, "KINETO_LOG_LEVEL": "99"}
        words = (what, name, str(steps), bench.device.type, str(torch.get_num_threads()))
        command = [sys.executable, "-m", __spec__.name, *words]
        output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def _compile_table(bench: Bench) -> str:
    """The first compile in a process, and a further shape over the reference's, medians of several."""
    cases = [(name, steps) for steps in (5, 10) for name in _COMPILED]
    cases, repeats = (cases[:1], 1) if bench.quick else (cases, _REPEATS)
    taken: dict[tuple[str, int], list] = {case: [] for case in cases}
    for done in range(repeats * len(cases)):
        case = cases[done % len(cases)]
        taken[case].append(_child("compile", *case, bench))
        show_progress(done + 1, repeats * len(cases), f"compile {case[0]}, {case[1]}")
    rows = []
    for (name, steps), runs in taken.items():
        first, own, other = (median(each) for each in zip(*runs))
        ratio = median(own / other for _, own, other in runs)
        rows.append((name, str(steps), f"{first:.2f}", f"{own:.2f}", f"{other:.2f}", f"{ratio:.2f}"))
    header = ("rule", "steps", "first s", "further s", f"{_REFERENCE} s", f"over {_REFERENCE}")
    return format_table(header, rows, "polar, no cache: seconds of the first compile and of a further shape")


def _memory_table(bench: Bench) -> str:
    names = (*_COMPILED, _REFERENCE)
    rows = [(name, *(f"{_child('memory', name, k, bench):.2f}" for k in (5, 10))) for name in names]
    title = "polar, 2048x2048 float32, compiled: peak extra memory in matrices"
    return format_table(("rule", "5 steps", "10 steps"), rows, title)


def _launches_table(bench: Bench, n: int = 48) -> str:
    """What a further step of a compiled function launches."""
    A, rows = gram((n, n), 1.0).to(bench.device), []
    for name, options, steps in _LAUNCHED[4:5] if bench.quick else _LAUNCHED:
        step = further_step(getattr(prism_compile, name), A, steps, **options)
        said = ", ".join([name, *map(str, options.values())])
        rows.append((said, str(steps), f"{step.library} + {step.own}", str(step.sources)))
    header = ("", "steps", "library + own", "new kernels")
    return format_table(header, rows, "a further step: calls of libraries + generated kernels")


def _gradients_table(bench: Bench) -> str:
    """A backward pass of inv_sqrtm, condition 1e3, by each gradient mode."""
    n, steps = (64, 3) if bench.quick else (1024, 10)
    A = definite(n, 1e3).to(bench.device, torch.float32)

    def backward(mode: str) -> torch.Tensor:
        leaf = A.clone().requires_grad_()
        return torch.autograd.grad(prism_compile.inv_sqrtm(leaf, steps=steps, gradient=mode), leaf, A)[0]

    runs = {mode: partial(backward, mode) for mode in ("unrolled", "dual")}
    exact, times, rows = runs["unrolled"]().cpu().double(), bench.time(runs), []
    for mode, run in runs.items():
        held = peak_bytes(run, bench.device.type) / (A.numel() * A.element_size())
        rows.append(
            (mode, f"{1e3 * median(times[mode]):.1f}", f"{held:.1f}", f"{relative_error(run(), exact):.1e}")
        )
    title = f"inv_sqrtm, {n}x{n} float32, {steps} steps, eager: forward and backward"
    return format_table(("gradient", "ms", "matrices held", "difference"), rows, title)


def costs_tables(bench: Bench) -> list[str]:
    """All of them."""
    quick = [_launches_table(bench), _gradients_table(bench), _compile_table(bench)]
    if bench.quick:
        return quick
    note("memory")
    return [*quick, _memory_table(bench)]


def main() -> None:
    """One of the processes."""
    what, name, steps, device, threads = sys.argv[1:]
    quiet_torch()
    torch.set_num_threads(int(threads))
    measure = {"compile": compile_seconds, "memory": extra_matrices}[what]
    print(json.dumps(measure(name, int(steps), device)))


if __name__ == "__main__":
    main()
