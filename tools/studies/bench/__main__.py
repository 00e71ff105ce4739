"""Time the library against its peers and its own matrix products, in turns, at known quality."""

import argparse
import json
import platform
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from os.path import relpath
from pathlib import Path
from time import perf_counter

import torch

from ..common.progress import show_progress
from ..common.timing import Budget, Clock
from ..demo.measure import format_table
from .figures import Bench, Figure, figure_ticks, measure_figures
from .plot import plot_quality
from .problems import Problem, Row, compare, polar_problems, root_problems

_HEADER = ("matrix", "dtype", "spectrum", "method", "steps", "products", "ms", "quartiles", "/products")
_NOTES = """\
spectrum    of the polar factor's input; of the roots' the condition number and the target
peer        the coefficients as published, written as X/‖X‖; A = XXᵀ; X = aX + (bA + cA²)X, compiled
products    counted flops / 2mn² (n the smaller side) of the whole batch, the sketch's skinny ones included
ms          median; all methods on a matrix are run in turns, each round in a new order
/products   time over that of the same matrix products alone, timed in the same rounds (median)
compiled    torch.compile(fullgraph=True, dynamic=False) but for linalg.* and coupled Newton
figures     a ratio, its quartiles over the rounds, and the two medians"""
_QUALITY = {"polar": "rms(1-σ)", "roots": "rel. error"}


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("figures", "polar", "roots"), help="one part of the run")
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_const", dest="extent", const="quick", help="under a minute")
    extent.add_argument(
        "--full",
        action="store_const",
        dest="extent",
        const="full",
        help="every rule at every shape, 3 to 8 steps",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--modes", default="default", help="of torch.compile, with commas; CUDA only")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.6, help="per method, default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("out"), help="default: %(default)s")
    parser.set_defaults(extent="default")
    arguments = parser.parse_args(words)
    arguments.modes = tuple(arguments.modes.split(","))
    if arguments.device == "cpu" and arguments.modes != ("default",):
        parser.error("--modes is for --device cuda")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no CUDA device")
    return arguments


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


def row_table(part: str, title: str, groups: list[list[Row]]) -> str:
    """The rows of all problems, a matrix named once; of a sweep only 5 and 8 steps."""
    cells = []
    for rows in groups:
        listed = [row for row in rows if part == "roots" or row.steps in (None, 5, 8)] or rows
        named = [row if part == "polar" else _with_function(row) for row in listed]
        cells += [_cells(row, i == 0) for i, row in enumerate(named)]
    return format_table(title, (*_HEADER, _QUALITY[part]), cells)


def _with_function(row: Row) -> Row:
    return Row(**{**vars(row), "matrix": f"{row.function} {row.matrix}"})


def run_part(makers: list[Callable[[], Problem]], arguments, clock, budget, progress) -> list[tuple]:
    """(problem has a panel, its rows) of each."""
    groups = []
    for make in makers:
        problem = make()
        progress(f"{problem.function} {problem.name} {str(problem.A.dtype).split('.')[1]}", 1)
        groups.append((problem.panel, compare(problem, arguments.modes, clock, budget)))
    return groups


def describe(arguments: argparse.Namespace) -> dict:
    """What the figures depend on."""
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else _processor()
    return {
        "torch": torch.__version__,
        "device": arguments.device,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "extent": arguments.extent,
        "modes": arguments.modes,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def write_json(path: Path, setting: dict, groups: list[list[Row]], figures: list[Figure]) -> None:
    """Everything measured, sweeps included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        **setting,
        "rows": [asdict(row) for rows in groups for row in rows],
        "figures": [asdict(figure) for figure in figures],
    }
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    """Measure, print and write."""
    arguments = parse_arguments()
    # torch's own deprecations, raised while it compiles, are not the reader's concern.
    warnings.filterwarnings("ignore")
    torch.set_num_threads(arguments.threads)
    device, began = torch.device(arguments.device), perf_counter()
    clock, budget = Clock(device), Budget(min(arguments.seconds, 0.2 if arguments.extent == "quick" else 1e9))
    quick = arguments.extent == "quick"
    makers = {
        "polar": polar_problems(device, arguments.extent),
        "roots": root_problems(device, arguments.extent),
        "figures": [],
    }
    wanted = (arguments.only,) if arguments.only else ("polar", "roots", "figures")
    total = sum(len(makers[part]) for part in wanted) + ("figures" in wanted) * figure_ticks(quick)
    done = 0

    def progress(note: str, ticks: int) -> None:
        nonlocal done
        done += ticks
        show_progress(done, total, f"{perf_counter() - began:4.0f} s  {note}".ljust(60))

    groups = {
        part: run_part(makers[part], arguments, clock, budget, progress)
        for part in wanted
        if part != "figures"
    }
    figures = []
    if "figures" in wanted:
        figures = measure_figures(Bench(device, clock, budget, arguments.modes[0]), quick, progress)
    report(arguments, groups, figures)
    print(f"{perf_counter() - began:.0f} s in all")


def report(arguments: argparse.Namespace, groups: dict[str, list[tuple]], figures: list[Figure]) -> None:
    """The tables and the files."""
    setting = describe(arguments)
    subtitle = f"torch {setting['torch']}, {setting['device_name']}"
    if arguments.device == "cpu":
        subtitle += f", {arguments.threads} thread{'s' * (arguments.threads > 1)}"
    titles = {"polar": "polar", "roots": "roots, float32, each at the fewest steps within the target"}
    print()
    for part, made in groups.items():
        print(row_table(part, titles[part], [rows for _, rows in made]), end="\n\n")
    if figures:
        width = max(len(figure.what) for figure in figures)
        print("figures\n")
        print("\n".join(f"{figure.what.ljust(width)}  {figure.measured}" for figure in figures), end="\n\n")
    print(f"{_NOTES}\n\n{subtitle}")
    written = [arguments.out / "bench.json"]
    write_json(written[0], setting, [rows for made in groups.values() for _, rows in made], figures)
    panels = [rows for panel, rows in groups.get("polar", []) if panel]
    if panels:
        written.append(arguments.out / "bench.png")
        plot_quality(panels, subtitle, written[1])
    print("wrote " + " and ".join(relpath(path) for path in written))


if __name__ == "__main__":
    sys.exit(main())
