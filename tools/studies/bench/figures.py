"""All figures, in order."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import torch

from ..common.launches import launches_table
from .figure import Bench, Figure
from .newton import newton_steps
from .processes import TICKS, compile_times, further_shapes, peak_memory
from .timed import (
    eager_over_compiled,
    inverse_root,
    over_direct_form,
    over_products,
    square_root,
    to_orthogonality,
)


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


# These report progress themselves, for each child process.
_TICKING = (compile_times, further_shapes)


def _newton_cases(quick: bool) -> list[tuple[str, int, float]]:
    """Function, size and A's own condition."""
    conditions = {"sqrtm": (1e2, 1e4, 1e8, 1e12), "polar": (1e1, 1e2, 1e4, 1e8)}
    if quick:
        return [(name, 256, condition) for name, each in conditions.items() for condition in each[1::2]]
    return [(name, 512, condition) for name, each in conditions.items() for condition in each]


def _jobs(bench: Bench, quick: bool, tick: Callable[[str], None]) -> list[partial]:
    f32, bf16 = torch.float32, torch.bfloat16
    cases = (((1024, 1024), f32), ((256, 256), f32), ((64, 64, 64), f32), ((512, 512), bf16))
    jobs = [partial(over_products, bench, *case) for case in (cases[1:2] if quick else cases)]
    if not quick:
        timed = (over_direct_form, to_orthogonality, square_root, inverse_root)
        jobs += [partial(job, bench) for job in timed]
    jobs += [partial(newton_steps, bench, *case) for case in _newton_cases(quick)]
    jobs += [partial(eager_over_compiled, bench, n) for n in ((256,) if quick else (256, 512, 1024))]
    if not quick:
        jobs += [partial(job, bench, tick) for job in _TICKING]
        jobs += [partial(step_launches, bench), partial(peak_memory, bench)]
    return jobs


def measure_figures(bench: Bench, quick: bool, progress: Callable[[str, int], None]) -> list[Figure]:
    """All of them in order; `progress(note, ticks)` is told of each before it starts."""
    figures = []
    for job in _jobs(bench, quick, lambda note: progress(note, 1)):
        if job.func not in _TICKING:
            progress(f"figure: {job.func.__name__.replace('_', ' ')}", 1)
        made = job()
        figures += [made] if isinstance(made, Figure) else made
        torch._dynamo.reset()
    return figures


def figure_ticks(bench: Bench, quick: bool) -> int:
    """How often `measure_figures` reports progress."""
    jobs = _jobs(bench, quick, print)
    return len(jobs) + (0 if quick else TICKS - len(_TICKING))
