"""Results files: what a study printed, kept beside it under a header that says how it was made.

A run with default options, but for threads, writes `studies/NAME/results.txt`; one with `--results PART`
writes `results-PART.txt`; any other, and a quick one always, writes to `out/`, so that no part of a run takes
the place of the whole.
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

from .processes import ROOT
from .progress import note

OUT = ROOT / "out"
STUDIES = Path(__file__).resolve().parents[1]


class _Copy(io.StringIO):
    """Keeps what it passes on to another stream."""

    def __init__(self, stream: io.TextIOBase):
        super().__init__()
        self.stream = stream
        self.flush = stream.flush

    def write(self, text: str) -> int:
        self.stream.write(text)
        return super().write(text)


def add_option(parser: argparse.ArgumentParser) -> None:
    """`--results PART`."""
    words = "keep what is printed as results-PART.txt beside the study (by default options: results.txt)"
    parser.add_argument("--results", metavar="PART", help=words)


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


def results_path(
    study: str, parser: argparse.ArgumentParser, words: Sequence[str], part: str, free: Sequence[str]
) -> Path:
    """Where a run by these words keeps what it prints; `free`: options that do not make it another run."""
    given = vars(parser.parse_args(list(words)))
    if given.get("quick") and given["results"]:
        parser.error("--results keeps whole runs: leave --quick out")
    same = all(value == parser.get_default(name) for name, value in given.items() if name not in free)
    part = given["results"] or part
    if same or given["results"]:
        return STUDIES / study / f"results{part and '-' + part}.txt"
    return OUT / f"{study}{part and '-' + part}.txt"


@contextmanager
def recorded(
    study: str,
    parser: argparse.ArgumentParser,
    words: Sequence[str] | None = None,
    part: str = "",
    free: Sequence[str] = ("threads",),
) -> Iterator[None]:
    """Keep what is printed within, of a run that fails nothing; words: the arguments, else the program's.

    The header: the command line, the date, versions and how long it took, and the machine.
    """
    words = sys.argv[1:] if words is None else words
    path, began = results_path(study, parser, words, part, free), perf_counter()
    with redirect_stdout(_Copy(sys.stdout)) as copy:
        yield
    took = f"{perf_counter() - began:.0f} s"
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    header = f"{shlex.join([f'tools/{study}', *words])}\n{date.today()}, {versions}, {took}\n{machine()}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{header}\n{copy.getvalue().strip()}\n")
    note(f"wrote {relpath(path)}, {took} in all")
