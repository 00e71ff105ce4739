"""Time the library against its peers and its own matrix products, in turns, at known quality."""

import argparse
import sys

import torch

from ..common import results
from ..common.compiling import quiet_torch
from ..common.results import add_option, recorded
from ..common.style import can_plot
from ..common.timing import Budget
from .core import Bench
from .costs import costs_tables
from .gradients import GRADIENT_NOTES, gradients_table
from .plot import plot_sweep
from .polar import SWEEP_NOTES, products_table, sweep, sweep_tables
from .roots import roots_tables

_NOTES = """\
compiled    torch.compile(fullgraph=True, dynamic=False) but for linalg.*, coupled Newton and Newton's steps
peer        the coefficients as published, written as X/‖X‖; A = XXᵀ; X = aX + (bA + cA²)X, compiled
products    counted flops / 2n³ (n the smaller side) per matrix, the sketch's skinny products included
ms          median and quartiles; all methods on a matrix are run in turns, each round in a new order; with
            one thread of processor time, else of the clock
/products   time over that of the same matrix products alone, timed in the same rounds
/exact      time over the decomposition's"""


def _sweep(bench: Bench) -> list[str]:
    found = sweep(bench)
    if can_plot():
        plot_sweep(found, results.OUT / "bench.png")
    return [*sweep_tables(found), SWEEP_NOTES]


PARTS = {
    "products": lambda bench: [products_table(bench)],
    "sweep": _sweep,
    "roots": roots_tables,
    "gradients": lambda bench: [gradients_table(bench), GRADIENT_NOTES],
    "costs": costs_tables,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="one part of the run")
    parser.add_argument("--quick", action="store_true", help="little of each part, in two minutes")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--mode", default="default", help="of torch.compile; CUDA only")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.6, help="per method, default: %(default)s")
    add_option(parser)
    return parser


def main(words: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = _parser()
    arguments = parser.parse_args(words)
    if arguments.device == "cpu" and arguments.mode != "default":
        parser.error("--mode is for --device cuda")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no CUDA device")
    quiet_torch()
    torch.set_num_threads(arguments.threads)
    budget = Budget(min(arguments.seconds, 0.1) if arguments.quick else arguments.seconds)
    bench = Bench(torch.device(arguments.device), arguments.mode, budget, arguments.quick)
    with recorded("bench", parser, words, part=arguments.only or "", free=("threads", "only")):
        for name in [arguments.only] if arguments.only else PARTS:
            print("\n\n".join(PARTS[name](bench)), end="\n\n", flush=True)
        print(_NOTES)


if __name__ == "__main__":
    sys.exit(main())
