"""Count what processes that share the solves send and compute, and model up to 4096 of them.

The model is the library's own plan; it is first held against 1, 2 and 4 processes that run.
"""

import argparse
import sys

from ..common.results import add_option, recorded
from .agreement import compare
from .lists import LISTS, SCHEMES
from .tables import model_tables, verdict_table
from .verdict import WORTHWHILE, Machine, scaling

_NOTES = """\
DDP     replicas. Muon gathers polar factors, Shampoo roots, or with shard_state (+state) directions
FSDP2   shards of rows, to the owners of units and back. HSDP: {shards} shards of a copy, the rest replicas
sent    all-to-all: what goes to others; all-gather of s bytes each: (W-1)·s; all-reduce: 2(W-1)/W·s
ms      the most that any process computes, at {tflops:g} (Shampoo {tflops32:g}) TFLOP/s, plus the most that
        any sends or receives in each collective, at {gbs:g} GB/s; no overlap, no latency, no Python.
        These rates are assumptions, and measured on no device
alone   every process solves everything; shards are gathered for that
stops   at so many processes: no more of them take {worthwhile:.0%} off a step for each doubling, by
        sending (longer than solving), unshared work (what all replicas do alike), idle processes
        (more than units) or the largest unit
no gain from so many processes on: each may as well solve everything
plan    seconds of Python to plan for the most processes and to model them
Muon    bfloat16, 5 steps. Shampoo: float32, blocks of at most {largest}, roots every {frequency} steps"""


def _parse(words: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 processes, the small list, 64 modelled")
    parser.add_argument("--detail", action="store_true", help="tables of every number of processes too")
    parser.add_argument("--lists", default="1b,70b", help="of matrices: " + ", ".join(LISTS))
    parser.add_argument("--most", type=int, default=4096, help="processes modelled (default: %(default)s)")
    parser.add_argument("--shards", type=int, default=8, help="of HSDP (default: %(default)s)")
    parser.add_argument("--tflops", type=float, default=400, help="of bfloat16 (default: %(default)s)")
    parser.add_argument("--tflops32", type=float, default=100, help="of float32 (default: %(default)s)")
    parser.add_argument("--gbs", type=float, default=50, help="sent per process (default: %(default)s)")
    parser.add_argument("--largest", type=int, default=1024, help="Shampoo's max_preconditioner_dim")
    parser.add_argument("--frequency", type=int, default=10, help="Shampoo's precondition_frequency")
    add_option(parser)
    arguments = parser.parse_args(words)
    if arguments.quick:
        arguments.lists, arguments.most = "small", 64
    for name in arguments.lists.split(","):
        if name not in LISTS:
            parser.error(f"--lists: no list {name!r}; there are {', '.join(LISTS)}")
    return parser, arguments


def _model(arguments: argparse.Namespace) -> None:
    worlds = [2**i for i in range(arguments.most.bit_length())]
    machine = Machine(
        {"Muon": 1e12 * arguments.tflops, "Shampoo": 1e12 * arguments.tflops32}, 1e9 * arguments.gbs
    )
    shampoo = {
        "max_preconditioner_dim": arguments.largest,
        "precondition_frequency": arguments.frequency,
    }
    for name in arguments.lists.split(","):
        scalings = [
            scaling(scheme, LISTS[name], worlds, arguments.shards, {"Muon": {}, "Shampoo": shampoo}, machine)
            for scheme in SCHEMES
        ]
        print("\n" + verdict_table(name, scalings))
        if arguments.detail:
            print("\n" + "\n\n".join(model_tables(scalings, [w for w in worlds if w >= 8])))
    print("\n" + _NOTES.format(**vars(arguments), worthwhile=WORTHWHILE))


def main(words: list[str] | None = None) -> int:
    """Compare, model and print; the exit status."""
    parser, arguments = _parse(words)
    with recorded("scale", parser, words, part="detail" if arguments.detail else "", free=("detail",)):
        agree = compare([2] if arguments.quick else [1, 2, 4])
        _model(arguments)
        if not agree:
            print("\nThe model does not agree with what was measured.")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
