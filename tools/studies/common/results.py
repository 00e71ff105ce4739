"""What a study says: progress on standard error, tables on standard output, and the file that keeps them.

A run with default options, but for threads, is kept in `studies/NAME/results.txt`, one with `--results PART`
in `results-PART.txt`; any other, and a quick one always, in `out/`, so that no part of a run takes the place
of the whole.
"""

import argparse
import io
import os
import platform
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import date
from os.path import relpath
from pathlib import Path
from time import perf_counter

import torch

STUDIES = Path(__file__).resolve().parents[1]
OUT = STUDIES.parents[1] / "out"

Cells = Sequence[str]


def note(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)


def show_progress(done: int, total: int, text: str, width: int = 30) -> None:
    """Redraw a bar on one line; where that is no terminal, print a line per quarter instead."""
    filled = width * done // total
    line = f"[{'#' * filled}{'.' * (width - filled)}] {done}/{total}  {text}"
    if sys.stderr.isatty():
        # The rest of a longer line is erased.
        print(f"\r{line}\x1b[K", end="\n" if done == total else "", file=sys.stderr, flush=True)
    elif done * 4 // total > (done - 1) * 4 // total:
        note(line)


def format_table(
    header: Cells, rows: Sequence[Cells], title: str = "", left: tuple[int, ...] = (0,), total: bool = False
) -> str:
    """Aligned columns under an underlined header.

    Where some rows have an empty first cell, they belong to the row above, and a blank line parts the groups.
    The columns `left` are aligned to the left; `total` sets the last row off as the sum of the others.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows)]

    def line(cells: Cells) -> str:
        words = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths)))
        return "  ".join(words).rstrip()

    rule = "  ".join("-" * width for width in widths)
    grouped = any(not row[0] for row in rows)
    lines = [title, ""] if title else []
    lines += [line(header), rule]
    for i, row in enumerate(rows):
        if total and i == len(rows) - 1:
            lines.append(rule)
        elif grouped and i > 0 and row[0]:
            lines.append("")
        lines.append(line(row))
    return "\n".join(lines)


def shape_of(shape: Sequence[int]) -> str:
    """A shape as tables and titles have it, 4x512x128 say."""
    return "x".join(map(str, shape))


class _Copy(io.StringIO):
    """Keeps what it passes on to another stream."""

    def __init__(self, stream: io.TextIOBase):
        super().__init__()
        self.stream = stream
        self.flush = stream.flush

    def write(self, text: str) -> int:
        self.stream.write(text)
        return super().write(text)


def parser_of(about: str | None, quick: str) -> argparse.ArgumentParser:
    """With the options of every study; about, quick: what it and its `--quick` do."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help=quick)
    words = "keep what is printed as results-PART.txt beside the study (by default options: results.txt)"
    parser.add_argument("--results", metavar="PART", help=words)
    return parser


def on_device(parser: argparse.ArgumentParser) -> None:
    """`--device`."""

    def device(name: str) -> str:
        if name == "cuda" and not torch.cuda.is_available():
            raise argparse.ArgumentTypeError("torch finds no CUDA device")
        return name

    parser.add_argument("--device", type=device, choices=("cpu", "cuda"), default="cpu")


def machine() -> str:
    """The processor, its cores and torch's threads; the CUDA device where one is in use."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = torch.get_num_threads()
    words = [*names[:1]] or [platform.processor() or platform.machine()]
    words += [f"{cores} core{'s' * (cores != 1)}", f"{threads} thread{'s' * (threads != 1)}"]
    return ", ".join([*words, torch.cuda.get_device_name()] if torch.cuda.is_initialized() else words)


def _path(
    study: str, parser: argparse.ArgumentParser, words: Sequence[str], part: str, free: Sequence[str]
) -> Path:
    """Where a run by these words is kept."""
    given = vars(parser.parse_args(list(words)))
    if given["quick"] and given["results"]:
        parser.error("--results keeps whole runs: leave --quick out")
    same = all(value == parser.get_default(name) for name, value in given.items() if name not in free)
    part = given["results"] or part
    folder, name = (STUDIES / study, "results") if same or given["results"] else (OUT, study)
    return folder / f"{name}{part and '-' + part}.txt"


@contextmanager
def recorded(
    study: str,
    parser: argparse.ArgumentParser,
    words: Sequence[str] | None = None,
    part: str = "",
    free: Sequence[str] = ("threads",),
) -> Iterator[None]:
    """Keep what is printed within, unless that fails, under the command, date, versions, time and machine.

    words: the arguments, else the program's. part: which part of the study it is. free: options that do not
    make it another run.
    """
    words = sys.argv[1:] if words is None else words
    path, began = _path(study, parser, words, part, free), perf_counter()
    with redirect_stdout(_Copy(sys.stdout)) as copy:
        yield
    took = f"{perf_counter() - began:.0f} s"
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    header = f"{shlex.join([f'tools/{study}', *words])}\n{date.today()}, {versions}, {took}\n{machine()}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{header}\n{copy.getvalue().strip()}\n")
    note(f"wrote {relpath(path)}, {took} in all")
