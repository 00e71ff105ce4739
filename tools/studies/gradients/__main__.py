"""Time and peak memory of a backward pass, unrolled against dual, eager and compiled."""

import argparse
import sys
from collections.abc import Callable
from functools import partial

import torch

import prism_compile

from ..common.compiling import compiled, quiet_torch
from ..common.matrices import definite, gaussian
from ..common.progress import note
from ..common.results import add_option, recorded
from ..common.tables import format_table
from .measure import HEADER, MODES, compare

_FUNCTIONS = {name: getattr(prism_compile, name) for name in ("inv_sqrtm", "sqrtm", "signm", "inv", "polar")}
_DEFAULT = "inv_sqrtm"
_NOTES = """\
ms          median, with one thread of processor time, else of the clock
matrices    the most memory held at once beyond A and G, in matrices of A's size
difference  of the gradients, relative Frobenius norm"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("function", nargs="?", default=_DEFAULT, choices=_FUNCTIONS)
    parser.add_argument("--quick", action="store_true", help="64 rows, 3 steps, nothing compiled")
    parser.add_argument("--n", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--condition", type=float, default=1e3)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, help="torch's threads (default: its own)")
    add_option(parser)
    return parser


def _report(arguments: argparse.Namespace, n: int, steps: int) -> None:
    A, G = definite(n, arguments.condition).float(), gaussian((n, n), seed=1)
    function = _FUNCTIONS[arguments.function]
    eager: dict[str, Callable] = {mode: partial(function, steps=steps, gradient=mode) for mode in MODES}
    rows = compare("eager", eager, A, G, arguments.repeats)
    if not arguments.quick:
        note("Compiling ...")
        graphs = {mode: compiled(call) for mode, call in eager.items()}
        rows += compare("compiled", graphs, A, G, arguments.repeats)
    title = f"{arguments.function}, {n}², {steps} steps, float32: forward and backward"
    print(f"{format_table(HEADER, rows, title, left=(0, 1))}\n\n{_NOTES}")


def main(words: list[str] | None = None) -> None:
    """Compare the modes eagerly and compiled."""
    parser = _parser()
    arguments = parser.parse_args(words)
    quiet_torch()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    n, steps = (64, 3) if arguments.quick else (arguments.n, arguments.steps)
    part = "" if arguments.function == _DEFAULT else arguments.function
    with recorded("gradients", parser, words, part=part, free=("threads", "function")):
        _report(arguments, n, steps)


if __name__ == "__main__":
    sys.exit(main())
