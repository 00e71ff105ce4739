"""Count what one process of up to 4096 sends and computes in a step of the optimizers."""

import sys
import warnings

from ..common.results import format_table, parser_of, recorded, show_progress
from .count import SCHEMES, SMALL, Scheme, Shape, counts, transformer

_WORLDS, _SHARDS = (1, 8, 64, 512, 4096), 8
_LARGEST, _FREQUENCY = 1024, 10
_NOTES = f"""\
DDP     replicas. Muon gathers polar factors, Shampoo roots, or with shard_state (+state) directions
FSDP2   shards of rows, to the owners of units and back. HSDP: {_SHARDS} shards of a copy, the rest replicas
GB, TFLOP  of a step, the larger of the first and the last process's
Muon    bfloat16, 5 steps. Shampoo: float32, blocks of at most {_LARGEST}, roots every {_FREQUENCY} steps"""


def _of(scheme: Scheme, shapes: list[Shape], world: int) -> tuple[float, float]:
    """GB and TFLOP of a step."""
    options, period = {}, 1
    if scheme.optimizer == "Shampoo":
        period = _FREQUENCY
        options = {"max_preconditioner_dim": _LARGEST, "precondition_frequency": period}
    grid = scheme.grid(world, _SHARDS)
    found = [counts(scheme, shapes, grid, rank, options, period) for rank in sorted({0, world - 1})]
    sent, flops = (max(each) for each in zip(*found))
    return sent / 1e9, flops / 1e12


def main(words: list[str] | None = None) -> None:
    """Count and print."""
    parser = parser_of(__doc__, "a small list of matrices, up to 8 processes")
    arguments = parser.parse_args(words)
    shapes, worlds = transformer(width=2048, layers=16, hidden=8192, key_values=512), _WORLDS
    if arguments.quick:
        shapes, worlds = SMALL, _WORLDS[:2]
    # Of torch's fake tensors, where a mesh is made.
    warnings.filterwarnings("ignore", module="torch")
    with recorded("scale", parser, words):
        found: dict[str, list[tuple[float, float]]] = {scheme.name: [] for scheme in SCHEMES}
        for i, scheme in enumerate(SCHEMES):
            for j, world in enumerate(worlds):
                found[scheme.name].append(_of(scheme, shapes, world))
                show_progress(i * len(worlds) + j + 1, len(SCHEMES) * len(worlds), f"{scheme.name}, {world}")
        of = f"{len(shapes)} matrices, {sum(m * n for m, n in shapes):,} entries"
        for place, what in enumerate(("GB sent", "TFLOP")):
            rows = [(name, *(f"{each[place]:.3g}" for each in cells)) for name, cells in found.items()]
            title = f"{of}: {what} per step of a process"
            print(format_table(("processes", *map(str, worlds)), rows, title), end="\n\n")
        print(_NOTES)


if __name__ == "__main__":
    sys.exit(main())
