"""Figures that are measured in processes of their own: compile times and memory."""

import json
import subprocess
import tempfile
from collections.abc import Callable
from statistics import median

import torch

from ..common.processes import module_command, module_environment
from .child import SUBJECTS
from .figure import Bench, Figure

_REPEATS = 3
_FURTHER_STEPS = (5, 10)
# How often the processes of compile times report progress.
TICKS = (len(SUBJECTS) + len(_FURTHER_STEPS)) * _REPEATS


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


def peak_memory(bench: Bench) -> Figure:
    """In matrices of the input's size."""
    ours, theirs = (_child("memory", name, bench.device.type) for name in ("polar", "Polar Express"))
    what = "polar 5 steps, 2048x2048 float32 compiled, peak extra memory in matrices"
    return Figure(what, f"{ours:.2f}  Polar Express compiled {theirs:.2f}", {"polar": ours, "peer": theirs})
