"""Find the fitted numbers of the rule "adaptive" by CMA-ES on training spectra, and write them."""

import argparse
import sys
import warnings
from collections.abc import Callable
from math import log10
from os.path import relpath

import torch

from prism_compile._rules.adaptive.fitted import FITTED
from prism_compile._rules.adaptive.schedule import Fitted

from ..common.processes import ROOT
from ..common.progress import note, show_progress
from ..common.results import add_option, recorded
from ..common.tables import format_table
from .objective import PolarObjective, RootObjective

Objective = Callable[[Fitted], float]

FILE = ROOT / "prism_compile" / "_rules" / "adaptive" / "fitted.py"
# Not the numbers of the file: a second run is to find the same.
START = Fitted(hidden=1.0, short=0.1, focus=0.1, slope=0.01)
# What the table compares with: no masses, nothing looked at on the way, equal weights.
PLAIN = Fitted(hidden=0.0, short=0.0, focus=1.0, slope=0.0)
# The two searches: the numbers of each by the function that they serve.
SEARCHES = {"polar": ("hidden", "short"), "roots": ("focus", "slope")}
# δ of the weight δ + (1 - x)²: beyond one it is but a scale, against which the rule's fixed preferences fade.
HIGHEST = {"focus": 1.0}
_POPULATION = 8
# The first spread of a search, in decades.
_SPREAD = 0.4
# How far another machine's rounding may lead the same search, relative.
_TOLERANCE = 0.1

_TEXT = '''\
# Made by `{command}`; do not edit.
"""The fitted numbers of the rule "adaptive"."""

from .schedule import Fitted

FITTED = Fitted(
{numbers}
)
'''


def _parse(words: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__)
    iterations = "generations of each of the two searches (default: %(default)s)"
    parser.add_argument("--iterations", type=int, default=20, help=iterations)
    seed = "of the spectra and of the searches (default: %(default)s)"
    parser.add_argument("--seed", type=int, default=0, help=seed)
    instead = parser.add_mutually_exclusive_group()
    check = f"write nothing; fail where a number is off the file's by more than {_TOLERANCE:.0%}"
    instead.add_argument("--check", action="store_true", help=check)
    evaluate = "search nothing; print what the file's numbers, and half and twice of each, are worth"
    instead.add_argument("--evaluate", action="store_true", help=evaluate)
    quick = "one generation on few and small matrices; as --check, what it finds is not written"
    parser.add_argument("--quick", action="store_true", help=quick)
    add_option(parser)
    parsed = parser.parse_args(words)
    if parsed.iterations < 1 or parsed.seed < 0:
        parser.error("--iterations must be ≥ 1 and --seed ≥ 0")
    return parser, parsed


def rounded(number: float) -> float:
    """To the three digits that the file has."""
    return float(f"{number:.3g}")


def file_text(fitted: Fitted, command: str) -> str:
    """The module with these numbers."""
    numbers = "\n".join(f"    {name}={value!r}," for name, value in fitted._asdict().items())
    return _TEXT.format(command=command, numbers=numbers)


def search(
    objective: Objective, start: Fitted, names: tuple[str, ...], iterations: int, seed: int, label: str
) -> Fitted:
    """Minimise over the named numbers, in their decimal logarithms.

    Of the distribution's last centre and the best trial the better one: few generations may have left the
    centre behind.
    """
    with warnings.catch_warnings():
        # It misses matplotlib, which is not used.
        warnings.simplefilter("ignore")
        import cma

    def numbers(point: list[float]) -> Fitted:
        # A trial has the digits of the file: what is written is what was judged.
        return start._replace(**{name: rounded(10**x) for name, x in zip(names, point)})

    first = [log10(getattr(start, name)) for name in names]
    # Its seed 0 stands for the clock.
    highest = [log10(HIGHEST[name]) if name in HIGHEST else None for name in names]
    settings = {"bounds": [None, highest], "seed": seed + 1, "popsize": _POPULATION, "verbose": -9}
    strategy = cma.CMAEvolutionStrategy(first, _SPREAD, settings)
    for iteration in range(iterations):
        points = strategy.ask()
        strategy.tell(points, [objective(numbers(point)) for point in points])
        show_progress(iteration + 1, iterations, f"{label} {strategy.result.fbest:#.4g}")
    found = [numbers(point) for point in (strategy.result.xfavorite, strategy.result.xbest)]
    return min(found, key=objective)


def found_numbers(objectives: dict[str, Objective], iterations: int, seed: int) -> Fitted:
    """Both searches."""
    fitted = START
    for label, names in SEARCHES.items():
        fitted = search(objectives[label], fitted, names, iterations, seed, label)
    return fitted


def comparison(objectives: dict[str, Objective], fitted: Fitted) -> str:
    """A table of the objectives without and with the numbers."""
    rows = [
        (label, *(f"{objective(numbers):#.4g}" for numbers in (PLAIN, START, fitted)))
        for label, objective in objectives.items()
    ]
    title = "Objectives, the less the better; plain: no masses, focus 1"
    return format_table(("search", "plain", "start", "found"), rows, title)


def sensitivity(objectives: dict[str, Objective], fitted: Fitted) -> str:
    """A table of the objectives with half and with twice each number."""
    rows = []
    for label, names in SEARCHES.items():
        objective = objectives[label]
        rows.append((label, "", "", "", f"{objective(fitted):#.4g}", ""))
        for name in names:
            value = getattr(fitted, name)
            varied = [objective(fitted._replace(**{name: value * factor})) for factor in (0.5, 2)]
            half, twice = (f"{worth:#.4g}" for worth in varied)
            rows.append(("", name, f"{value:g}", half, "", twice))
    header = ("search", "number", "value", "half", "itself", "twice")
    return format_table(header, rows, "Objectives, and with half and twice of each number", left=(0, 1))


def differences(found: Fitted, present: Fitted) -> list[str]:
    """A line for each number off the present one by more than the tolerance."""
    return [
        f"  {name}: found {value:g}, the file has {there:g}"
        for name, value, there in zip(Fitted._fields, found, present)
        if not abs(value - there) <= _TOLERANCE * abs(there)
    ]


def _objectives(seed: int, quick: bool) -> dict[str, Objective]:
    if quick:
        polar = PolarObjective(members=1, low_rank=4, n=8, seed=seed)
        return {"polar": polar, "roots": RootObjective(members=1, n=8, seed=seed)}
    return {"polar": PolarObjective(seed=seed), "roots": RootObjective(seed=seed)}


def _searched(objectives: dict[str, Objective], arguments: argparse.Namespace) -> list[str]:
    """Search, print and write, or compare with the file: what is off it."""
    iterations = 1 if arguments.quick else arguments.iterations
    fitted = found_numbers(objectives, iterations, arguments.seed)
    print(comparison(objectives, fitted) + "\n")
    print(*(f"  {name:<8} {value:g}" for name, value in fitted._asdict().items()), sep="\n")
    if arguments.check:
        off = differences(fitted, FITTED)
        print("\n" + "\n".join(off or ["The file's numbers are found again."]))
        return off
    if not arguments.quick:
        command = f"tools/tune --iterations {arguments.iterations} --seed {arguments.seed}"
        FILE.write_text(file_text(fitted, command))
        note(f"wrote {relpath(FILE)}")
    return []


def main(words: list[str] | None = None) -> int:
    """Search and write, or what the arguments ask for instead; the exit status."""
    parser, arguments = _parse(words)
    # One thread, so that sums are taken in one order; on matrices this small more would wait for each other.
    torch.set_num_threads(1)
    off = []
    part = "evaluate" if arguments.evaluate else "check" if arguments.check else ""
    with recorded("tune", parser, words, part=part, free=("evaluate", "check")):
        objectives = _objectives(arguments.seed, arguments.quick)
        if arguments.evaluate:
            print(sensitivity(objectives, FITTED))
        else:
            off = _searched(objectives, arguments)
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
