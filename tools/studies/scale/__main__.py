"""Count what one process of up to 4096 sends and computes in a step of the optimizers."""

import argparse
import sys
import warnings

from ..common.progress import show_progress
from ..common.results import add_option, recorded
from ..common.tables import format_table
from .count import counts
from .lists import LISTS, SCHEMES, Scheme

_WORLDS = (1, 8, 64, 512, 4096)
_NOTES = """\
DDP     replicas. Muon gathers polar factors, Shampoo roots, or with shard_state (+state) directions
FSDP2   shards of rows, to the owners of units and back. HSDP: {shards} shards of a copy, the rest replicas
GB, TFLOP  of a step, the larger of the first and the last process's
ms      TFLOP at {tflops:g} (Shampoo {tflops32:g}) TFLOP/s and GB at {gbs:g} GB/s; no overlap, no latency, no
        Python. These rates are assumptions, and measured on no device
Muon    bfloat16, 5 steps. Shampoo: float32, blocks of at most {largest}, roots every {frequency} steps"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the small list, up to 8 processes")
    parser.add_argument("--list", choices=LISTS, default="1b", help="of matrices (default: %(default)s)")
    parser.add_argument("--shards", type=int, default=8, help="of HSDP (default: %(default)s)")
    parser.add_argument("--tflops", type=float, default=400, help="of bfloat16 (default: %(default)s)")
    parser.add_argument("--tflops32", type=float, default=100, help="of float32 (default: %(default)s)")
    parser.add_argument("--gbs", type=float, default=50, help="sent per process (default: %(default)s)")
    parser.add_argument("--largest", type=int, default=1024, help="Shampoo's max_preconditioner_dim")
    parser.add_argument("--frequency", type=int, default=10, help="Shampoo's precondition_frequency")
    add_option(parser)
    return parser


def _of(scheme: Scheme, world: int, arguments: argparse.Namespace) -> tuple[float, float, float]:
    """GB and TFLOP of a step, and its ms."""
    options, period, rate = {}, 1, arguments.tflops
    if scheme.optimizer == "Shampoo":
        period, rate = arguments.frequency, arguments.tflops32
        options = {"max_preconditioner_dim": arguments.largest, "precondition_frequency": period}
    grid, shapes = scheme.grid(world, arguments.shards), LISTS[arguments.list]
    found = [counts(scheme, shapes, grid, rank, options, period) for rank in sorted({0, world - 1})]
    sent, flops = (max(each) for each in zip(*found))
    return sent / 1e9, flops / 1e12, 1e3 * (flops / (1e12 * rate) + sent / (1e9 * arguments.gbs))


def _tables(arguments: argparse.Namespace) -> list[str]:
    worlds = _WORLDS[:2] if arguments.quick else _WORLDS
    found: dict[str, list[tuple[float, float, float]]] = {scheme.name: [] for scheme in SCHEMES}
    for i, scheme in enumerate(SCHEMES):
        for j, world in enumerate(worlds):
            found[scheme.name].append(_of(scheme, world, arguments))
            show_progress(i * len(worlds) + j + 1, len(SCHEMES) * len(worlds), f"{scheme.name}, {world}")
    shapes = LISTS[arguments.list]
    title = f"List {arguments.list}: {len(shapes)} matrices, {sum(m * n for m, n in shapes):,} entries"
    made = []
    for place, what in enumerate(("GB sent", "TFLOP", "ms")):
        rows = [(name, *(f"{each[place]:.3g}" for each in cells)) for name, cells in found.items()]
        header = ("processes", *map(str, worlds))
        made.append(format_table(header, rows, f"{title}: {what} per step of a process"))
    return made


def main(words: list[str] | None = None) -> None:
    """Count and print."""
    parser = _parser()
    arguments = parser.parse_args(words)
    if arguments.quick:
        arguments.list = "small"
    # Of torch's fake tensors, where a mesh is made.
    warnings.filterwarnings("ignore", module="torch")
    part = "" if arguments.list == "1b" else arguments.list
    with recorded("scale", parser, words, part=part, free=("list",)):
        print("\n\n".join([*_tables(arguments), _NOTES.format(**vars(arguments))]))


if __name__ == "__main__":
    sys.exit(main())
