"""Compare the quintic rules, and CANS, on many spectra: the error after equal numbers of steps."""

import argparse
import sys

import torch

from ..common import results
from ..common.compiling import quiet_torch
from ..common.progress import note
from ..common.results import add_option, recorded
from .limit_table import LIMIT_NOTES, limit_table
from .measure import DAMPING, FUNCTIONS, STEPS, groups, measure, methods, rule_names
from .plot import Results, plot_errors
from .suite import suite
from .tables import NOTES, misses, steps_table, summary_table
from .trust.tables import PARTS, parts

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_LIMIT_STEPS = 5
_QUICK_N = 12


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--function", choices=FUNCTIONS, default="polar")
    parser.add_argument("--n", type=int, default=128, help="smaller side (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="how many of each (default: %(default)s)")
    parser.add_argument("--dtype", choices=_DTYPES, default="float32")
    steps = f"numbers of steps (default: {' '.join(map(str, STEPS))}; with --limit: {_LIMIT_STEPS})"
    parser.add_argument("--k", type=int, nargs="+", metavar="K", help=steps)
    rule = "whose misses are listed (default: adaptive), or which is tried by --trust (default: none named)"
    parser.add_argument("--rule", choices=rule_names(), help=rule)
    parser.add_argument("--only-summary", action="store_true", help="print no row per spectrum")
    training = "training steps of the text model whose momentum is taken; 0: none (default: %(default)s)"
    parser.add_argument("--training-steps", type=int, default=100, help=training)
    least = "print only, for a few spectra, the least error of any K quintics beside the rules'"
    parser.add_argument("--limit", action="store_true", help=least)
    trust = f"print only where the default rule fails a bar, or these parts of that: {', '.join(PARTS)}"
    parser.add_argument("--trust", nargs="*", choices=PARTS, metavar="PART", help=trust)
    parser.add_argument("--large", action="store_true", help="with --trust tol: n to 2048 (10 minutes more)")
    quick = f"only --limit, --trust or the table, of n = {_QUICK_N} and at most 2 steps, without training"
    parser.add_argument("--quick", action="store_true", help=quick)
    add_option(parser)
    return parser


def _parse(words: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = _parser()
    parsed = parser.parse_args(words)
    if parsed.limit and parsed.function != "polar":
        parser.error("--limit is of the polar factor: leave --function out")
    parsed.k = parsed.k or ([_LIMIT_STEPS] if parsed.limit else list(STEPS))
    if parsed.quick:
        parsed.n, parsed.k, parsed.training_steps = _QUICK_N, [2], 0
    if parsed.trust == []:
        parsed.trust = list(PARTS)
    return parser, parsed


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
        print("\n" + limit_table(steps, n, range(seeds), _DTYPES[dtype]))
    print(f"\n{LIMIT_NOTES}")


def _print_trust(arguments: argparse.Namespace) -> None:
    made = parts(arguments.rule, arguments.large, arguments.quick)
    print(f"The rule tried: {arguments.rule or 'the default of each function'}")
    for name in arguments.trust:
        note(f"{name} ...")
        print("\n" + made[name](), flush=True)


def _measured(arguments: argparse.Namespace) -> Results:
    """By all methods; and their plot."""
    function, n, dtype = arguments.function, arguments.n, _DTYPES[arguments.dtype]
    settings = {"n": n, "dtype": dtype, "function": function, "training_steps": arguments.training_steps}
    runs, found = methods(function), {}
    for name, run in runs.items():
        found[name] = measure(run, steps=arguments.k, seeds=range(arguments.seeds), **settings)
        note(f"  {name}: measured")
    shown = {
        name: A
        for group in groups(function, n, 0, dtype, arguments.training_steps)
        for name, A in zip(group.names, group.batch)
    }
    title, label = _title(function, n, arguments.dtype, arguments.seeds)
    path = results.OUT / ("spectra.png" if function == "polar" else f"spectra-{function}.png")
    plot_errors(found, shown, runs, dtype, title, label, path)
    return found


def _compare(arguments: argparse.Namespace) -> None:
    """Measure, plot and print the tables."""
    if arguments.training_steps:
        note("Training the text model ...")
    made = suite(arguments.n, 0, arguments.training_steps)
    families = {family: list(matrices) for family, matrices in made.items()}
    # Two threads on matrices this small mostly wait for each other, the more so on a busy machine.
    torch.set_num_threads(1)
    found = _measured(arguments)
    print(_title(arguments.function, arguments.n, arguments.dtype, arguments.seeds)[0])
    rule = arguments.rule or "adaptive"
    missed = {steps: misses(found, rule, steps) for steps in arguments.k}
    for steps, lines in missed.items():
        print("\n" + steps_table(found, families, steps, not arguments.only_summary))
        print(f"\n{len(lines)} misses of {rule}", *lines, sep="\n")
    print(f"\n{summary_table(found, rule, missed)}\n\n{NOTES}")


def main(words: list[str] | None = None) -> None:
    """The comparison, the limits, or the trust table."""
    parser, arguments = _parse(words)
    quiet_torch()
    if arguments.trust:
        run, part = _print_trust, "trust"
    elif arguments.limit:
        run, part = _print_limits, "limit"
    else:
        run, part = _compare, "" if arguments.function == "polar" else arguments.function
    free = ("limit", "function", "only_summary", *(("trust",) if arguments.trust == list(PARTS) else ()))
    with recorded("spectra", parser, words, part=part, free=free):
        run(arguments)


if __name__ == "__main__":
    sys.exit(main())
