"""What a graph costs beside its time: compiling, memory, and a backward pass.

Compile times and memory are of processes of their own with empty caches: `python -m studies.bench.costs
RULE STEPS DEVICE THREADS` is one and prints JSON. tests/test_launches.py has what a step launches.
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

from prism_compile import inv_sqrtm, polar

from ..common import peers
from ..common.matrices import definite, relative_error
from ..common.results import format_table, show_progress
from ..common.timing import compiled, peak_bytes, quiet_torch
from .core import Bench

_REFERENCE, PEER = "polar_express", "peer Polar Express"
_RULES = ("adaptive", PEER)


def _subject(name: str, steps: int):
    if name == PEER:
        return compiled(peers.newton_schulz, table="Polar Express", steps=steps)
    return compiled(polar, rule=name, steps=steps)


def costs(name: str, steps: int, device: str, n: int = 512) -> tuple[float, ...]:
    """Seconds of the first call; to compile a further shape by the rule and by the reference; and memory.

    Both have compiled one before, so that neither is the one that finds torch warm; milliseconds are the
    calls' own. Memory: the most that a call holds at once beyond its input, in matrices like that.
    """
    calls, times = [_subject(name, steps), _subject(_REFERENCE, steps)], []
    for shape in ((n, n), (2 * n, n // 2)):
        for call in calls:
            A = torch.randn(shape, device=device)
            start = perf_counter()
            call(A)
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(perf_counter() - start)
    A = torch.randn(n, n, device=device)
    held = peak_bytes(partial(calls[0], A), device) / (A.numel() * A.element_size())
    first, _, own, reference = times
    return first, own, reference, held


def _child(name: str, steps: int, bench: Bench) -> tuple[float, ...]:
    with tempfile.TemporaryDirectory() as folder:
        caches = {"TORCHINDUCTOR_FX_GRAPH_CACHE": "0", "TORCHINDUCTOR_AUTOGRAD_CACHE": "0"}
        environment = {**os.environ, **caches, "TORCHINDUCTOR_CACHE_DIR": folder, "KINETO_LOG_LEVEL": "99"}
        words = (name, str(steps), bench.device.type, str(torch.get_num_threads()))
        command = [sys.executable, "-m", __spec__.name, *words]
        output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def _graphs_table(bench: Bench) -> str:
    """The first compile in a process, a further shape beside the reference's, and memory."""
    cases, rows = [(name, steps) for steps in (5, 10) for name in _RULES], []
    cases = cases[:1] if bench.quick else cases
    for done, case in enumerate(cases, 1):
        first, own, other, held = _child(*case, bench)
        rows.append(
            (case[0], str(case[1]), f"{first:.2f}", f"{own:.2f}", f"{own / other:.2f}", f"{held:.2f}")
        )
        show_progress(done, len(cases), f"graphs of {case[0]}, {case[1]} steps")
    header = ("rule", "steps", "first s", "further s", f"over {_REFERENCE}", "memory")
    title = "polar, no cache: seconds of the first compile and of a further shape; matrices held"
    return format_table(header, rows, title)


def _gradients_table(bench: Bench) -> str:
    """A backward pass of inv_sqrtm, condition 1e3, by each gradient mode."""
    n, steps = (64, 3) if bench.quick else (512, 10)
    A = definite(n, 1e3).to(bench.device, torch.float32)

    def backward(mode: str) -> torch.Tensor:
        leaf = A.clone().requires_grad_()
        return torch.autograd.grad(inv_sqrtm(leaf, steps=steps, gradient=mode), leaf, A)[0]

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
    """Both."""
    return [_gradients_table(bench), _graphs_table(bench)]


def main() -> None:
    """One of the processes."""
    name, steps, device, threads = sys.argv[1:]
    quiet_torch()
    torch.set_num_threads(int(threads))
    print(json.dumps(costs(name, int(steps), device)))


if __name__ == "__main__":
    main()
