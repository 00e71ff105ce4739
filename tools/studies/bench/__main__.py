"""Time the library against its peers and its own matrix products, in turns, at known quality."""

import sys

import torch

from ..common.results import on_device, parser_of, recorded
from ..common.timing import Budget, quiet_torch
from .core import Bench
from .costs import costs_tables
from .polar import products_table, sweep_tables
from .roots import roots_tables

_NOTES = """\
compiled    torch.compile(fullgraph=True, dynamic=False) but for linalg.*, coupled Newton and Newton's steps
peer        the coefficients as published, written as X/‖X‖; A = XXᵀ; X = aX + (bA + cA²)X, compiled
products    counted flops / 2n³ (n the smaller side) per matrix, the sketch's skinny products included
ms          median and quartiles; all methods on a matrix are run in turns, each round in a new order; with
            one thread of processor time, else of the clock
/products   time over that of the same matrix products alone, timed in the same rounds
/exact      time over the decomposition's"""
PARTS = {
    "products": lambda bench: [products_table(bench)],
    "sweep": sweep_tables,
    "roots": roots_tables,
    "costs": costs_tables,
}


def main(words: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = parser_of(__doc__, "little of each part, in two minutes")
    parser.add_argument("--only", choices=PARTS, help="one part of the run")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    on_device(parser)
    arguments = parser.parse_args(words)
    quiet_torch()
    torch.set_num_threads(arguments.threads)
    bench = Bench(torch.device(arguments.device), Budget(0.02 if arguments.quick else 0.6), arguments.quick)
    with recorded("bench", parser, words, part=arguments.only or "", free=("threads", "only")):
        for name in [arguments.only] if arguments.only else PARTS:
            print("\n\n".join(PARTS[name](bench)), end="\n\n", flush=True)
        print(_NOTES)


if __name__ == "__main__":
    sys.exit(main())
