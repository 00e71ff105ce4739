"""Profile one function, eager and compiled: where its time goes by phase, and what a step consists of."""

import argparse
import json
import sys
from functools import partial
from os.path import relpath
from pathlib import Path

import torch
from torch import Tensor

import prism_compile

from ..common import results
from ..common.compiling import quiet_torch
from ..common.matrices import gaussian, gram
from ..common.progress import note
from ..common.results import add_option, recorded
from ..common.tables import shape_of
from ..common.timing import median_ms
from .count import work_of, work_per_step
from .tables import describe_compiled_step, describe_step, phase_table
from .trace import compile_labelled, compiled_pieces, eager_pieces, record

_FUNCTIONS = ("polar", "polar_factors", "signm", "sqrtm", "inv_sqrtm", "sqrtm_pair", "inv_root", "inv")
_DTYPES = ("float64", "float32", "bfloat16", "float16")
_ROUNDS = 15


def _parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """And the names of those arguments that are options of the function."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("function", choices=_FUNCTIONS)
    parser.add_argument("--quick", action="store_true", help="32x32, one profiled run")
    parser.add_argument("--shape", type=int, nargs="+", default=[512, 512], help="default: 512 512")
    parser.add_argument("--dtype", choices=_DTYPES, default="float32")
    parser.add_argument("--threads", type=int, help="torch's threads, all by default")
    parser.add_argument("--repeats", type=int, default=5, help="profiled runs; the median one is shown")
    parser.add_argument(
        "--trace", type=Path, default=results.OUT / "profile.json", help="default: out/profile.json"
    )
    add_option(parser)
    options = parser.add_argument_group("options of the function")
    actions = [
        options.add_argument(f"--{name}", type=kind)
        for name, kind in (
            *(("p", int), ("eps", float), ("steps", int), ("degree", int), ("rule", str)),
            *(("scaling", str), ("sketch_size", int), ("seed", int)),
        )
    ]
    actions.append(options.add_argument("--history", action="store_true", default=None))
    return parser, [action.dest for action in actions]


def _parse(words: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace, dict]:
    """The parser, the arguments, and the function's options; what is not given keeps its default."""
    parser, names = _parser()
    arguments = parser.parse_args(words)
    if len(arguments.shape) < 2:
        parser.error("--shape needs at least two numbers")
    if arguments.quick:
        arguments.shape, arguments.repeats = [32, 32], 1
    given = {name: getattr(arguments, name) for name in names}
    return parser, arguments, {name: value for name, value in given.items() if value is not None}


def make_input(function: str, shape: list[int], dtype: torch.dtype) -> Tensor:
    """Gaussian for the polar functions, symmetric positive definite for the others."""
    A = gaussian(tuple(shape)) if function.startswith("polar") else gram(tuple(shape), 0.01)
    return A.to(dtype)


def write_trace(trace: dict, path: Path, kind: str) -> None:
    """Write it beside `path`, named after its kind."""
    path = path.with_name(f"{path.stem}-{kind}{path.suffix or '.json'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(trace))
    note(f"wrote {relpath(path)}")


def _print_profiles(arguments: argparse.Namespace, options: dict) -> None:
    """The phases of an eager and of a compiled run, and a step of each."""
    function = getattr(prism_compile, arguments.function)
    A = make_input(arguments.function, arguments.shape, getattr(torch, arguments.dtype))
    run = partial(function, A, **options)
    given = "".join(f", {name}={value}" for name, value in options.items())
    print(f"{arguments.function} {shape_of(arguments.shape)} {arguments.dtype}{given}\n")

    compiled = compile_labelled(function, A, **options)
    times = median_ms({"eager": run, "compiled": compiled.run}, _ROUNDS)
    for kind, call in (("eager", run), ("compiled", compiled.run)):
        trace = record(call, arguments.repeats)
        pieces = eager_pieces(trace) if kind == "eager" else compiled_pieces(trace, compiled.kernels)
        print(phase_table(f"{kind}: {times[kind]:.2f} ms without the profiler", pieces), end="\n\n")
        write_trace(trace, arguments.trace, kind)

    n, steps = min(arguments.shape[-2:]), options.get("steps", 10)
    step = work_per_step(lambda steps: function(A, **{**options, "steps": steps}), steps, n)
    print(f"a step, n = {n}\n{describe_step(step, work_of(run, n), n, A[..., 0, 0].numel())}")
    print(describe_compiled_step(compiled))


def main(words: list[str] | None = None) -> None:
    """Run, print and write."""
    parser, arguments, options = _parse(words)
    quiet_torch()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    free = ("function", "threads", "trace")
    with recorded("profile", parser, words, part=arguments.function, free=free):
        _print_profiles(arguments, options)


if __name__ == "__main__":
    sys.exit(main())
