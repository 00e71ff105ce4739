"""Compare the quintic rules, and CANS, on many spectra: the error after equal numbers of steps."""

import argparse
import sys
import warnings
from math import exp, log
from os.path import relpath
from pathlib import Path
from time import perf_counter

import torch

from ..demo.measure import format_table
from .limit import LIMIT_NOTES, limit_table
from .measure import DAMPING, FUNCTIONS, STEPS, groups, measure, methods, rule_names
from .plot import Results, plot_errors
from .suite import suite

_OUT = Path(__file__).resolve().parents[3] / "out"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_REFERENCE = "polar_express"
# A rule should nowhere be worse than the best of these by more than a factor and an offset.
BASELINES = ("polar_express", "jordan", "you", "CANS", "prism")
_FACTOR, _OFFSET = 1.02, 0.002
_LIMIT_STEPS = 5
_NOTES = f"""\
*            the row's best
mean ratio   geometric mean of the errors over {_REFERENCE}'s, with what is below {_OFFSET} taken as that
largest σ    in any result
PE Schatten  {_REFERENCE} with its margin of 1.01 on the Schatten norm instead of the Frobenius norm
CANS         quintics for K steps with a final deviation δ of 0.3, or of 0.01, by Schatten norm
miss         error > {_FACTOR} · least of ({", ".join(BASELINES)}) + {_OFFSET}"""


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--function", choices=FUNCTIONS, default="polar")
    parser.add_argument("--n", type=int, default=128, help="smaller side (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="how many of each (default: %(default)s)")
    parser.add_argument("--dtype", choices=_DTYPES, default="float32")
    steps = f"numbers of steps (default: {' '.join(map(str, STEPS))}; with --limit: {_LIMIT_STEPS})"
    parser.add_argument("--k", type=int, nargs="+", metavar="K", help=steps)
    default = "adaptive" if "adaptive" in rule_names() else "prism"
    parser.add_argument("--rule", choices=rule_names(), default=default, help="whose misses are listed")
    parser.add_argument("--only-summary", action="store_true", help="print no row per spectrum")
    training = "training steps of the text model whose momentum is taken; 0: none (default: %(default)s)"
    parser.add_argument("--training-steps", type=int, default=100, help=training)
    least = "print only, for a few spectra, the least error of any K quintics beside the rules'"
    parser.add_argument("--limit", action="store_true", help=least)
    parsed = parser.parse_args(arguments)
    if parsed.limit and parsed.function != "polar":
        parser.error("--limit is of the polar factor: leave --function out")
    parsed.k = parsed.k or ([_LIMIT_STEPS] if parsed.limit else list(STEPS))
    return parsed


def marked(errors: list[float]) -> list[str]:
    """Three digits each, the least with a star."""
    return [f"{error:#.3g}" + ("*" if error == min(errors) else " ") for error in errors]


def mean_errors(results: Results, steps: int) -> list[float]:
    """Of each method, over the spectra."""
    return [_mean(figure.error for figure in by_steps[steps].values()) for by_steps in results.values()]


def mean_ratios(results: Results, steps: int) -> list[float]:
    """Of each method, the geometric mean of its error over Polar Express', both raised to the offset."""
    reference = results[_REFERENCE][steps]
    return [
        exp(
            _mean(
                log(max(figure.error, _OFFSET) / max(reference[name].error, _OFFSET))
                for name, figure in by_steps[steps].items()
            )
        )
        for by_steps in results.values()
    ]


def _mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def _plain(values: list[float]) -> list[str]:
    return [f"{value:#.3g} " for value in values]


def steps_table(results: Results, families: dict[str, list[str]], steps: int, rows_too: bool) -> str:
    """All spectra and the means after a number of steps."""
    rows = []
    for family, names in families.items() if rows_too else ():
        for i, name in enumerate(names):
            errors = [by_steps[steps][name].error for by_steps in results.values()]
            rows.append(("" if i else family, name, *marked(errors)))
    rows.append(("all", "mean", *marked(mean_errors(results, steps))))
    rows.append(("", "mean ratio", *marked(mean_ratios(results, steps))))
    largest = [max(f.largest for f in by_steps[steps].values()) for by_steps in results.values()]
    rows.append(("", "largest σ", *_plain(largest)))
    header = ("family", "spectrum", *(f"{method} " for method in results))
    return format_table(f"K = {steps} steps", header, rows, left=(0, 1))


def misses(results: Results, rule: str, steps: int) -> list[str]:
    """A line for each spectrum on which a rule fails the bar, with its error and the best baseline's."""
    lines = []
    baselines = [name for name in BASELINES if name in results and name != rule]
    for name, figure in results[rule][steps].items():
        best = min(baselines, key=lambda method: results[method][steps][name].error)
        least = results[best][steps][name].error
        # Written so that a result that is not a number misses.
        if not figure.error <= _FACTOR * least + _OFFSET:
            lines.append(f"  K={steps}  {name:<28}  {rule} {figure.error:#.3g}  {best} {least:#.3g}")
    return lines


def summary_table(results: Results, rule: str, missed: dict[int, list[str]]) -> str:
    """The means by number of steps."""
    rows = []
    for steps, lines in missed.items():
        rows.append((f"K = {steps}", "mean", *marked(mean_errors(results, steps)), str(len(lines))))
        rows.append(("", "mean ratio", *marked(mean_ratios(results, steps)), ""))
    header = ("steps", "", *(f"{method} " for method in results), f"misses of {rule}")
    return format_table(f"Means over {len(results[rule][steps])} spectra", header, rows, left=(0, 1))


def _title(function: str, n: int, dtype: str, seeds: int) -> tuple[str, str]:
    """Of the plot and the tables, and the error's name."""
    label = "rms(1-σ)" if function == "polar" else "relative Frobenius error"
    damped = f", eps={DAMPING:.0e}" if "sqrtm" in function else ""
    count = "1 seed" if seeds == 1 else f"{seeds} seeds"
    return f"{function}{damped}: {label} on spectra of n = {n}, {dtype}, {count}", label


def _print_limits(arguments: argparse.Namespace) -> None:
    n, dtype, seeds = arguments.n, arguments.dtype, arguments.seeds
    torch.set_num_threads(1)
    print(_title("polar", n, dtype, seeds)[0])
    for steps in arguments.k:
        print("\n" + limit_table(steps, n, range(seeds), _DTYPES[dtype]), flush=True)
    print(f"\n{LIMIT_NOTES}")


def main(argv: list[str] | None = None) -> None:
    """Measure, plot and print the tables."""
    arguments = _parse(argv)
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
    began = perf_counter()
    if arguments.limit:
        _print_limits(arguments)
        print(f"\ntorch {torch.__version__}, {perf_counter() - began:.0f} s in all")
        return
    function, n, dtype = arguments.function, arguments.n, _DTYPES[arguments.dtype]
    settings = {"n": n, "dtype": dtype, "function": function, "training_steps": arguments.training_steps}
    if arguments.training_steps:
        print("Training the text model ...", flush=True)
    families = {family: list(made) for family, made in suite(n, 0, arguments.training_steps).items()}
    # Two threads on matrices this small mostly wait for each other, the more so on a busy machine.
    torch.set_num_threads(1)
    runs, results = methods(function), {}
    for name, run in runs.items():
        results[name] = measure(run, steps=arguments.k, seeds=range(arguments.seeds), **settings)
        print(f"  {name}: measured, {perf_counter() - began:.0f} s", flush=True)

    title, label = _title(function, n, arguments.dtype, arguments.seeds)
    path = _OUT / ("spectra.png" if function == "polar" else f"spectra-{function}.png")
    shown = {
        name: A
        for group in groups(function, n, 0, dtype, arguments.training_steps)
        for name, A in zip(group.names, group.batch)
    }
    plot_errors(results, shown, runs, dtype, title, label, path)
    print(f"  wrote {relpath(path)}\n\n{title}")

    missed = {steps: misses(results, arguments.rule, steps) for steps in arguments.k}
    for steps, lines in missed.items():
        print("\n" + steps_table(results, families, steps, not arguments.only_summary))
        print(f"\n{len(lines)} misses of {arguments.rule}", *lines, sep="\n")
    print("\n" + summary_table(results, arguments.rule, missed))
    print(f"\n{_NOTES}\n\ntorch {torch.__version__}, {perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    sys.exit(main())
