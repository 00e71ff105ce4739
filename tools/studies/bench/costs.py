"""Compile times and memory, each in processes of its own with empty caches; and what a step launches.

`python -m studies.bench.costs compile RULE STEPS DEVICE THREADS` is one of them, or `memory` in place of
`compile`; it prints JSON.
"""

import json
import subprocess
import sys
import tempfile
import warnings
from functools import partial
from statistics import median
from time import perf_counter

import torch

from prism_compile import polar

from ..common import peers
from ..common.compiling import compiled
from ..common.launches import launches_table
from ..common.memory import peak_bytes
from ..common.processes import module_command, module_environment
from ..common.progress import show_progress
from ..common.rules import RULES
from ..common.tables import format_table
from .core import Bench

_REPEATS = 3
_SHAPES = ((512, 512), (1024, 256), (384, 384))
_REFERENCE = "polar_express"
COMPILED = tuple(rule for rule in RULES if rule in ("adaptive", "minimax", "prism"))
PEER = "peer Polar Express"


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
        uncached = {"TORCHINDUCTOR_FX_GRAPH_CACHE": "0", "TORCHINDUCTOR_AUTOGRAD_CACHE": "0"}
        environment = module_environment(TORCHINDUCTOR_CACHE_DIR=folder, KINETO_LOG_LEVEL="99", **uncached)
        words = (what, name, str(steps), bench.device.type, str(torch.get_num_threads()))
        command = module_command("bench.costs", *words)
        output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def compile_table(bench: Bench) -> str:
    """The first compile in a process, and a further shape over the reference's, medians of several."""
    cases = [(name, steps) for steps in (5, 10) for name in (*COMPILED, PEER)]
    taken: dict[tuple[str, int], list] = {case: [] for case in cases[:1] if bench.quick} or {
        case: [] for case in cases
    }
    repeats = 1 if bench.quick else _REPEATS
    for repeat in range(repeats):
        for done, case in enumerate(taken, 1):
            taken[case].append(_child("compile", *case, bench))
            show_progress(repeat * len(taken) + done, repeats * len(taken), f"compile {case[0]}, {case[1]}")
    rows = []
    for (name, steps), runs in taken.items():
        first, own, other = (median(each) for each in zip(*runs))
        ratio = median(own / other for _, own, other in runs)
        rows.append((name, str(steps), f"{first:.2f}", f"{own:.2f}", f"{other:.2f}", f"{ratio:.2f}"))
    header = ("rule", "steps", "first s", "further s", f"{_REFERENCE} s", f"over {_REFERENCE}")
    return format_table(header, rows, "polar, no cache: seconds of the first compile and of a further shape")


def memory_table(bench: Bench) -> str:
    """In matrices of the input's size."""
    names = (*COMPILED, _REFERENCE, PEER)
    rows = [(name, *(f"{_child('memory', name, k, bench):.2f}" for k in (5, 10))) for name in names]
    title = "polar, 2048x2048 float32, compiled: peak extra memory in matrices"
    return format_table(("rule", "5 steps", "10 steps"), rows, title)


def step_table(bench: Bench) -> str:
    """What a further step of a compiled function launches."""
    rows = [
        (name, str(steps), str(step), str(step.sources)) for name, steps, step in launches_table(bench.device)
    ]
    header = ("function", "steps", "library + generated", "new sources")
    return format_table(header, rows, "launches of a further step, compiled")


def costs_tables(bench: Bench) -> list[str]:
    """All three; quick: one compile."""
    if bench.quick:
        return [compile_table(bench)]
    return [compile_table(bench), memory_table(bench), step_table(bench)]


def main() -> None:
    what, name, steps, device, threads = sys.argv[1:]
    warnings.filterwarnings("ignore")
    torch.set_num_threads(int(threads))
    measure = {"compile": compile_seconds, "memory": extra_matrices}[what]
    print(json.dumps(measure(name, int(steps), device)))


if __name__ == "__main__":
    main()
