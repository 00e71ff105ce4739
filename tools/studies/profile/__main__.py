"""Profile one function, eager and compiled: where its time goes by phase, and what a step consists of."""

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

import prism_compile
from prism_compile._iteration.labels import PHASES

from .count import Work, work_of, work_per_step
from .trace import (
    OUTSIDE,
    Compiled,
    Label,
    Piece,
    compile_labelled,
    compiled_pieces,
    eager_pieces,
    record,
)

_FUNCTIONS = ("polar", "polar_factors", "signm", "sqrtm", "inv_sqrtm", "sqrtm_pair", "inv_root", "inv")
_DTYPES = ("float64", "float32", "bfloat16", "float16")
_SHOWN = {"sketch": "sketch and moments", "moments": "sketch and moments"}
_HEADER = ("phase", "ms", "of the run", "in products", "of product time")


def parse_arguments(words: list[str] | None) -> tuple[argparse.Namespace, dict]:
    """The arguments, and those that are options of the function; what is not given keeps its default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("function", choices=_FUNCTIONS)
    parser.add_argument("--shape", type=int, nargs="+", default=[512, 512], help="default: 512 512")
    parser.add_argument("--dtype", choices=_DTYPES, default="float32")
    parser.add_argument("--threads", type=int, help="torch's threads, all by default")
    parser.add_argument("--repeats", type=int, default=5, help="profiled runs; the median one is shown")
    parser.add_argument("--trace", type=Path, default=Path("out/profile.json"), help="default: %(default)s")
    options = parser.add_argument_group("options of the function")
    actions = [
        options.add_argument(f"--{name}", type=kind)
        for name, kind in (
            *(("p", int), ("eps", float), ("steps", int), ("degree", int), ("rule", str)),
            *(("scaling", str), ("sketch_size", int), ("seed", int)),
        )
    ]
    actions.append(options.add_argument("--history", action="store_true", default=None))
    arguments = parser.parse_args(words)
    if len(arguments.shape) < 2:
        parser.error("--shape needs at least two numbers")
    given = {a.dest: getattr(arguments, a.dest) for a in actions}
    return arguments, {name: value for name, value in given.items() if value is not None}


def make_input(function: str, shape: list[int], dtype: torch.dtype) -> Tensor:
    """Gaussian for the polar functions, symmetric positive definite for the others."""
    A = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if not function.startswith("polar"):
        A = A @ A.mT / shape[-1] + 0.01 * torch.eye(shape[-1])
    return A.to(dtype)


def median_ms(run: Callable[[], object], repeats: int = 15) -> float:
    """Without the profiler."""
    times = []
    for _ in range(repeats):
        start = perf_counter()
        run()
        times.append(1e3 * (perf_counter() - start))
    return median(times)


def _shown(label: Label) -> str:
    """A label's phases as one row's name."""
    return str(Label(tuple(dict.fromkeys(_SHOWN.get(phase, phase) for phase in label.phases))))


def _table(title: str, rows: list[tuple[str, ...]]) -> str:
    """Aligned plain text, the last row set off."""
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows)]
    rule = tuple("-" * width for width in widths)
    lines = (
        "  ".join((cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])))
        for cells in (_HEADER, rule, *rows[:-1], rule, rows[-1])
    )
    return "\n".join((title, *lines))


def phase_table(title: str, pieces: list[Piece]) -> str:
    """Time by phase."""
    total = sum(piece.microseconds for piece in pieces)
    products = sum(piece.microseconds for piece in pieces if piece.product)
    order = {phase: i for i, phase in enumerate((*PHASES, "", OUTSIDE))}
    groups: dict[str, list[Piece]] = {}
    for piece in sorted(pieces, key=lambda p: [order[phase] for phase in (p.label.phases or ("",))]):
        groups.setdefault(_shown(piece.label), []).append(piece)

    def row(name: str, group: list[Piece]) -> tuple[str, ...]:
        time = sum(piece.microseconds for piece in group)
        in_products = sum(piece.microseconds for piece in group if piece.product)
        shares = f"{time / total:.1%}", f"{in_products / 1e3:.3f}", f"{time / products:.1%}"
        return name, f"{time / 1e3:.3f}", *shares

    rows = [row(name, group) for name, group in groups.items()]
    return _table(title, [*rows, row("all", pieces)])


def _size(count: float, unit: str) -> str:
    return next(
        f"{count / scale:.3g} {prefix}{unit}"
        for scale, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))
        if count >= scale or scale == 1
    )


def describe_step(step: Work, run: Work, n: int, batch: int) -> str:
    """What a step in the middle of the run does, eagerly."""
    cube = 2 * batch * n**3
    flops = step.product_flops + step.skinny_flops
    share = step.skinny_flops / flops if flops else 0.0
    lines = (
        f"products   {step.products} of at least n·n·n, {_size(step.product_flops, 'FLOP')}"
        f" = {step.product_flops / cube:.2f}·2n³",
        f"           {step.skinny} skinny ones of the fit, {_size(step.skinny_flops, 'FLOP')}"
        f" = {share:.2%} of the step's",
        f"eager      {step.products + step.skinny + step.others} kernels, {_size(step.bytes, 'B')}",
    )
    total = run.product_flops + run.skinny_flops
    return "\n".join((*lines, f"the run    {_size(total, 'FLOP')} = {total / cube:.2f}·2n³"))


def describe_compiled_step(compiled: Compiled) -> str:
    """Kernels and bytes of a step in the middle of the run, compiled."""
    steps = max((k.label.step for k in compiled.kernels if k.label.step is not None), default=0)
    step = min(1, steps) if steps < 2 else steps // 2
    names = [k.name for k in compiled.kernels if k.label.step == step]
    fused = sum(name.startswith("cpp_") for name in names)
    moved = _size(compiled.bytes_by_step.get(step, 0), "B")
    return (
        f"compiled   {len(names)} kernels ({fused} C++, the others products), {moved} in step {step};"
        f" the run {len(compiled.kernels)} kernels"
    )


def write_trace(trace: dict, path: Path, kind: str) -> str:
    """Write it beside `path`, named after its kind; its name."""
    path = path.with_name(f"{path.stem}-{kind}{path.suffix or '.json'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(trace))
    return str(path)


def main(words: list[str] | None = None) -> None:
    """Run, print and write."""
    arguments, options = parse_arguments(words)
    # torch's own deprecations, raised while it compiles, are not the reader's concern.
    warnings.filterwarnings("ignore", category=FutureWarning)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    function = getattr(prism_compile, arguments.function)
    A = make_input(arguments.function, arguments.shape, getattr(torch, arguments.dtype))
    run = partial(function, A, **options)
    shape = "x".join(map(str, arguments.shape))
    given = "".join(f", {name}={value}" for name, value in options.items())
    print(f"{arguments.function} {shape} {arguments.dtype}{given}; {torch.get_num_threads()} threads\n")

    trace = record(run, arguments.repeats)
    print(
        phase_table(f"eager: {median_ms(run):.2f} ms without the profiler", eager_pieces(trace)), end="\n\n"
    )
    written = [write_trace(trace, arguments.trace, "eager")]

    compiled = compile_labelled(function, A, **options)
    trace = record(compiled.run, arguments.repeats)
    pieces = compiled_pieces(trace, compiled.kernels)
    print(phase_table(f"compiled: {median_ms(compiled.run):.2f} ms without the profiler", pieces), end="\n\n")
    written.append(write_trace(trace, arguments.trace, "compiled"))

    n = min(arguments.shape[-2:])
    steps = options.get("steps", 10)
    step = work_per_step(lambda steps: function(A, **{**options, "steps": steps}), steps, n)
    print(f"a step, n = {n}")
    print(describe_step(step, work_of(run, n), n, A[..., 0, 0].numel()))
    print(describe_compiled_step(compiled))
    print(f"\nwrote {' and '.join(written)}")


if __name__ == "__main__":
    sys.exit(main())
