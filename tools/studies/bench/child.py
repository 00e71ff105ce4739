"""What must be measured in a process of its own: compile times and peak memory. Prints one line of JSON."""

import json
import sys
import warnings
from collections.abc import Callable
from functools import partial
from time import perf_counter

import torch

import prism_compile

from ..common import peers
from ..common.compiling import compiled
from ..common.memory import peak_bytes

_SHAPES = ((512, 512), (1024, 256))

SUBJECTS = {
    "polar": (prism_compile.polar, {}),
    'polar(rule="prism")': (prism_compile.polar, {"rule": "prism"}),
    "Polar Express": (peers.newton_schulz, {"table": "Polar Express"}),
}


def _subject(name: str):
    function, options = SUBJECTS[name]
    return compiled(function, steps=5, **options)


def _first_call_seconds(call: Callable, shape: tuple[int, int], device: str) -> float:
    A = torch.randn(shape, device=device)
    start = perf_counter()
    call(A)
    if device == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start


def compile_seconds(name: str, device: str) -> list[float]:
    """Seconds of the first call at each shape, the calls' own work (milliseconds) included."""
    call = _subject(name)
    return [_first_call_seconds(call, shape, device) for shape in _SHAPES]


def further_shape_seconds(steps: str, device: str) -> tuple[float, float]:
    """Seconds to compile a further shape, by the default rule and by rule="polar_express", in one process."""
    calls = [
        compiled(prism_compile.polar, steps=int(steps), rule=rule) for rule in ("polar_express", "adaptive")
    ]
    times = {}
    # By turns, so that neither is the one that finds torch warm.
    for shape in _SHAPES:
        for call in calls:
            times[call] = _first_call_seconds(call, shape, device)
    theirs, ours = (times[call] for call in calls)
    return ours, theirs


def extra_matrices(name: str, device: str, n: int = 2048) -> float:
    """The most memory held at once during a compiled call, beyond its input, in matrices like the input."""
    call, A = _subject(name), torch.randn(n, n, device=device)
    call(A)
    return peak_bytes(partial(call, A), device) / (A.numel() * A.element_size())


def main() -> None:
    """`child.py compile|memory SUBJECT DEVICE THREADS`, or `child.py further STEPS …`."""
    what, name, device, threads = sys.argv[1:]
    warnings.filterwarnings("ignore")
    torch.set_num_threads(int(threads))
    measures = {"compile": compile_seconds, "further": further_shape_seconds, "memory": extra_matrices}
    measure = measures[what]
    print(json.dumps(measure(name, device)))


if __name__ == "__main__":
    main()
