"""Time the library against its peers and its own matrix products, in turns, at known quality."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from os.path import relpath
from pathlib import Path
from time import perf_counter

import torch

from ..common import results
from ..common.compiling import quiet_torch
from ..common.progress import note, show_progress
from ..common.results import add_option, machine, recorded
from ..common.tables import format_table
from ..common.timing import Budget, Clock
from .figure import Bench, Figure
from .figures import figure_ticks, measure_figures
from .measure import Row, compare
from .plot import plot_quality
from .problems import Problem, polar_problems, root_problems

_HEADER = ("matrix", "dtype", "spectrum", "method", "steps", "products", "ms", "quartiles", "/products")
_NOTES = """\
spectrum    of the polar factor's input; of the roots' the condition number and the target
peer        the coefficients as published, written as X/‖X‖; A = XXᵀ; X = aX + (bA + cA²)X, compiled
products    counted flops / 2n³ (n the smaller side) per matrix, the sketch's skinny products included
ms          median; all methods on a matrix are run in turns, each round in a new order; with one thread of
            processor time, else of the clock
/products   time over that of the same matrix products alone, timed in the same rounds (median)
compiled    torch.compile(fullgraph=True, dynamic=False) but for linalg.* and coupled Newton
figures     a ratio, its quartiles over the rounds, and the two medians"""
_PARTS = ("polar", "roots", "figures")
_TITLES = {"polar": "polar", "roots": "roots, float32, each at the fewest steps within the target"}
_QUALITY = {"polar": "rms(1-σ)", "roots": "rel. error"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=_PARTS, help="one part of the run")
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="under a minute")
    extent.add_argument("--full", action="store_true", help="every rule at every shape, 3 to 8 steps")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--modes", default="default", help="of torch.compile, with commas; CUDA only")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.6, help="per method, default: %(default)s")
    parser.add_argument(
        "--out", type=Path, default=results.OUT, help="of the plot and the JSON (default: out)"
    )
    add_option(parser)
    return parser


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.device == "cpu" and arguments.modes != "default":
        parser.error("--modes is for --device cuda")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no CUDA device")


def _cells(row: Row, first: bool) -> tuple[str, ...]:
    def shown(value: object, spec: str) -> str:
        return "-" if value is None else f"{value:{spec}}"

    spread = f"{row.ms.lower:.2f}-{row.ms.upper:.2f}" if row.ms else row.note
    return (
        *((row.matrix, row.dtype, row.spectrum) if first else ("", "", "")),
        row.method,
        shown(row.steps, "d"),
        shown(row.products, ".1f"),
        f"{row.ms.median:.2f}" if row.ms else "-",
        spread,
        f"{row.over_products.median:.2f}" if row.over_products else "-",
        shown(row.quality, ".1e"),
    )


def row_table(part: str, groups: list[list[Row]]) -> str:
    """The rows of all problems, a matrix named once; of a sweep only 5 and 8 steps."""
    cells = []
    for rows in groups:
        listed = [row for row in rows if part == "roots" or row.steps in (None, 5, 8)] or rows
        if part == "roots":
            listed = [replace(row, matrix=f"{row.function} {row.matrix}") for row in listed]
        cells += [_cells(row, i == 0) for i, row in enumerate(listed)]
    return format_table((*_HEADER, _QUALITY[part]), cells, _TITLES[part], left=(0, 1, 3))


def figure_lines(figures: list[Figure]) -> str:
    """Two lines each."""
    return "\n".join(f"{figure.what}\n    {figure.measured}" for figure in figures)


def _setting(arguments: argparse.Namespace) -> dict:
    """What the figures depend on."""
    extent = "quick" if arguments.quick else "full" if arguments.full else "default"
    device = {"device": arguments.device, "machine": machine(), "threads": torch.get_num_threads()}
    return {"torch": torch.__version__, **device, "extent": extent, "modes": arguments.modes.split(",")}


def write_json(path: Path, setting: dict, groups: list[list[Row]], figures: list[Figure]) -> None:
    """Everything measured, sweeps included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        **setting,
        "rows": [asdict(row) for rows in groups for row in rows],
        "figures": [asdict(figure) for figure in figures],
    }
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    note(f"wrote {relpath(path)}")


class _Progress:
    """A bar over the whole run, with the time since it began."""

    def __init__(self, total: int):
        self.total, self.done, self.began = total, 0, perf_counter()

    def __call__(self, text: str, ticks: int) -> None:
        self.done += ticks
        show_progress(self.done, self.total, f"{perf_counter() - self.began:4.0f} s  {text}")


def run_part(
    makers: list[Callable[[], Problem]], bench: Bench, modes: tuple[str, ...], progress: _Progress
) -> list[tuple[bool, list[Row]]]:
    """Whether each problem has a panel, and its rows."""
    groups = []
    for make in makers:
        problem = make()
        progress(f"{problem.function} {problem.name} {str(problem.A.dtype).split('.')[1]}", 1)
        groups.append((problem.panel, compare(problem, modes, bench.clock, bench.budget)))
    return groups


def _measure(arguments: argparse.Namespace, setting: dict) -> tuple[dict[str, list[tuple]], list[Figure]]:
    """The rows of the parts that are wanted, and the figures."""
    device, extent, quick = torch.device(arguments.device), setting["extent"], arguments.quick
    modes, seconds = tuple(setting["modes"]), min(arguments.seconds, 0.2 if quick else 1e9)
    bench = Bench(device, Clock(device), Budget(seconds), modes[0])
    wanted = (arguments.only,) if arguments.only else _PARTS
    makers = {"polar": polar_problems(device, extent), "roots": root_problems(device, extent)}
    makers = {part: found for part, found in makers.items() if part in wanted}
    ticks = figure_ticks(bench, quick) if "figures" in wanted else 0
    progress = _Progress(sum(map(len, makers.values())) + ticks)
    groups = {part: run_part(found, bench, modes, progress) for part, found in makers.items()}
    return groups, measure_figures(bench, quick, progress) if ticks else []


def report(arguments: argparse.Namespace, setting: dict, groups: dict, figures: list[Figure]) -> None:
    """The tables and the files."""
    for part, made in groups.items():
        print(row_table(part, [rows for _, rows in made]), end="\n\n")
    if figures:
        print(f"figures\n\n{figure_lines(figures)}", end="\n\n")
    print(_NOTES)
    rows = [rows for made in groups.values() for _, rows in made]
    write_json(arguments.out / "bench.json", setting, rows, figures)
    panels = [rows for panel, rows in groups.get("polar", []) if panel]
    if panels:
        plot_quality(panels, f"torch {setting['torch']}, {setting['machine']}", arguments.out / "bench.png")


def main(words: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = _parser()
    arguments = parser.parse_args(words)
    _check(parser, arguments)
    quiet_torch()
    torch.set_num_threads(arguments.threads)
    with recorded("bench", parser, words, part=arguments.only or "", free=("threads", "out", "only")):
        setting = _setting(arguments)
        report(arguments, setting, *_measure(arguments, setting))


if __name__ == "__main__":
    sys.exit(main())
