"""Profile one function, eager and compiled: where its time goes by phase, and what a step consists of."""

import sys
from functools import partial
from os.path import relpath

import torch
from torch import Tensor

import prism_compile

from ..common import results
from ..common.counting import further_step, matrix_products
from ..common.matrices import gaussian, gram
from ..common.results import note, on_device, parser_of, recorded, shape_of
from ..common.timing import Clock, compiled, median_ms, quiet_torch
from .phases import by_kernel, by_phase, record, share_table

_FUNCTIONS = [
    name for name in prism_compile.__all__ if name.islower() and name not in ("keep_ops", "steps_for")
]
_DTYPES = ("float64", "float32", "bfloat16", "float16")
_ROUNDS = 15
_OPTIONS = {"p": int, "eps": float, "steps": int, "degree": int, "rule": str, "scaling": str}


def step_products(function, A: Tensor, steps: int, options: dict) -> float:
    """What one step more of an eager call multiplies, in 2n³ flops."""
    longer, shorter = (
        matrix_products(partial(function, A, steps=each, **options), A.shape) for each in (steps + 1, steps)
    )
    return longer - shorter


def _print_profiles(name: str, A: Tensor, options: dict) -> None:
    """The phases of an eager run, the kernels of a compiled one, and a step of each."""
    function, given = getattr(prism_compile, name), "".join(f", {k}={value}" for k, value in options.items())
    print(f"{name} {shape_of(A.shape)} {str(A.dtype).removeprefix('torch.')}{given}\n")
    runs = {"eager": partial(function, A, **options), "compiled": partial(compiled(function, **options), A)}
    # The C++ kernels of the graph, which is compiled in the first call, have their names in the profile.
    with torch._inductor.config.patch({"cpp.enable_kernel_profile": True}):
        times = median_ms(runs, _ROUNDS, Clock(A.device))
    for (kind, call), shares in zip(runs.items(), (by_phase, by_kernel)):
        path = results.OUT / f"profile-{kind}.json"
        events = record(call, A.device, path)
        title = f"{kind}: {times[kind]:.2f} ms without the profiler"
        print(share_table(title, shares(events, A.device.type == "cuda")), end="\n\n")
        note(f"wrote {relpath(path)}")
    own = {k: value for k, value in options.items() if k != "steps"}
    steps = max(options.get("steps", 10), 2)
    step = further_step(function, A, steps, **own)
    print(f"products          {matrix_products(runs['eager'], A.shape):.2f}·2n³ flops")
    print(f"of a further step {step_products(function, A, steps, own):.2f}·2n³ flops")
    print(f"compiled          {step.library} calls of libraries + {step.own} generated kernels")


def main(words: list[str] | None = None) -> None:
    """Run, print and write."""
    parser = parser_of(__doc__, "32x32")
    parser.add_argument("function", choices=_FUNCTIONS)
    parser.add_argument("--shape", type=int, nargs="+", default=[512, 512], help="default: 512 512")
    parser.add_argument("--dtype", choices=_DTYPES, default="float32")
    on_device(parser)
    for name, kind in _OPTIONS.items():
        parser.add_argument(f"--{name}", type=kind, help="of the function")
    arguments = parser.parse_args(words)
    shape = (32, 32) if arguments.quick else tuple(arguments.shape)
    if len(shape) < 2:
        parser.error("--shape needs at least two numbers")
    # Gaussian for the polar functions, symmetric positive definite for the others.
    A = gaussian(shape) if arguments.function.startswith("polar") else gram(shape, 0.01)
    A = A.to(arguments.device, getattr(torch, arguments.dtype))
    given = {name: getattr(arguments, name) for name in _OPTIONS}
    quiet_torch()
    with recorded("profile", parser, words, part=arguments.function, free=("function",)):
        options = {name: value for name, value in given.items() if value is not None}
        _print_profiles(arguments.function, A, options)


if __name__ == "__main__":
    sys.exit(main())
