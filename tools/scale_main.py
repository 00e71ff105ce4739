"""Count what processes that share the solves send and compute, and model up to 4096 of them.

The model is the library's own plan; it is first held against 1, 2 and 4 processes that run.
"""

import argparse
import sys
from collections.abc import Callable

import numpy as np
from scale_child import SHARDS
from scale_lists import LISTS, SCHEMES
from scale_measure import measured
from scale_model import work_of
from scale_verdict import WORTHWHILE, Machine, Scaling, scaling

_FREQUENCY = 2
# Blocks of a small list, so that most weights have several.
_SMALL = {
    "Muon": {},
    "Shampoo": {"max_preconditioner_dim": 48, "precondition_frequency": _FREQUENCY},
}
_ALLOWED = {"sent": 0.01, "flops": 0.05}
_BLOCKS: list[tuple[str, Callable[[Scaling, int], float]]] = [
    ("GB sent per step, by the process that sends most", lambda s, w: s.works[w].sent.max() / 1e9),
    ("... over the mean", lambda s, w: _over_mean(s.works[w].sent)),
    ("TFLOP per step, of the process that computes most", lambda s, w: s.works[w].flops.max() / 1e12),
    ("... over the mean", lambda s, w: _over_mean(s.works[w].flops)),
    ("GB that the largest all-gather brings to each process", lambda s, w: s.works[w].buffer / 1e9),
    ("ms per step", lambda s, w: 1e3 * s.seconds(w)),
]
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


def _parse() -> argparse.Namespace:
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
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.lists, arguments.most = "small", 64
    for name in arguments.lists.split(","):
        if name not in LISTS:
            parser.error(f"--lists: no list {name!r}; there are {', '.join(LISTS)}")
    return arguments


def _over_mean(values: np.ndarray) -> float:
    return values.max() / values.mean() if values.any() else 0.0


def _number(value: float) -> str:
    """Three digits, as far as a column of six has them."""
    if not value:
        return "-"
    digits = next((d for limit, d in ((99.5, 0), (9.95, 1), (0.995, 2)) if value >= limit), 3)
    return f"{value:.{digits}f}" if value >= 0.0005 else f"{value:.0e}"


def _off(found: list[float], expected: list[float]) -> float:
    """The largest relative difference of any process."""
    return max(abs(a - b) / max(a, b, 1e-300) for a, b in zip(found, expected))


def compare(worlds: list[int], name: str = "small") -> bool:
    """Print what was measured, and how far the model is off; whether they agree."""
    print(
        f"Measured by processes that run, list {name}: the largest of them; off: the model from any of them\n"
    )
    found = {world: measured(world, name, _FREQUENCY, _SMALL) for world in worlds}
    kinds = (("sent", "kB sent per step", 1e3), ("flops", "MFLOP per step", 1e6))
    width = 8 * len(worlds) + 9
    print(f"{'':20}" + "".join(f"{title:^{width}}" for _, title, _ in kinds).rstrip())
    heads = "".join(f"{world:>8}" for world in worlds) + f"{'off':>9}"
    print(f"{'processes':20}" + heads * len(kinds))
    agree = True
    for scheme in SCHEMES:
        line = f"{scheme.name:20}"
        works = {
            world: work_of(scheme, LISTS[name], scheme.grid(world, SHARDS), _SMALL)[1] for world in worlds
        }
        for key, _, unit in kinds:
            own = {world: [process[scheme.name][key] for process in found[world]] for world in worlds}
            off = max(_off(own[world], list(getattr(works[world], key).flat)) for world in worlds)
            agree = agree and off <= _ALLOWED[key]
            line += "".join(f"{max(own[world]) / unit:8.1f}" for world in worlds) + f"{off:9.2%}"
        print(line)
    return agree


def _print_verdict(name: str, scalings: list[Scaling]) -> None:
    shapes = LISTS[name]
    entries = sum(m * n for m, n in shapes)
    print(f"\nList {name}: {len(shapes)} matrices, {entries:,} entries. Where sharing stops paying\n")
    widths = (9, 9, 7, 8, 8, 14, 9, 8, 7)
    heads = [
        ("alone", "best", "of", "gain", "stops", "by", "no gain", "units", "plan"),
        ("ms", "ms", "", "", "at", "", "from", "", "s"),
    ]
    rows = [("", *head) for head in heads]
    for own in scalings:
        alone, fastest = own.unshared_seconds(own.best), own.seconds(own.best)
        times = _number(1e3 * alone), _number(1e3 * fastest), own.best, f"{_number(alone / fastest)}x"
        units = own.works[max(own.works)].units
        ends = own.stop or "-", own.limit, own.loss or "-", units, f"{own.plan_seconds:.2f}"
        rows.append((own.scheme.name, *times, *ends))
    for first, *cells in rows:
        print(f"{first:20}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths)))


def _print_model(scalings: list[Scaling], worlds: list[int]) -> None:
    for title, value in _BLOCKS:
        print(f"\n{title}\n{'processes':20}" + "".join(f"{world:>7}" for world in worlds))
        for own in scalings:
            cells = [_number(value(own, world)) for world in worlds]
            if not set(cells) <= {"-", "1.00"}:
                print(f"{own.scheme.name:20}" + "".join(f"{cell:>7}" for cell in cells))


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
        _print_verdict(name, scalings)
        if arguments.detail:
            _print_model(scalings, [world for world in worlds if world >= 8])
    print("\n" + _NOTES.format(**vars(arguments), worthwhile=WORTHWHILE))


def main() -> int:
    arguments = _parse()
    agree = compare([2] if arguments.quick else [1, 2, 4])
    _model(arguments)
    if not agree:
        print("\nThe model does not agree with what was measured.")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
