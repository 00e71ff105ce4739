"""Compare the quintic rules, and CANS, on many spectra: the error after equal numbers of steps."""

import argparse
import sys

import torch

from ..common.compiling import quiet_torch
from ..common.progress import note
from ..common.results import add_option, recorded
from ..common.rules import RULES
from .limit import LIMIT_NOTES, limit_table
from .measure import STEPS, measure, methods
from .suite import suite
from .tables import NOTES, misses, steps_table, summary_table
from .trust.tables import PARTS, parts

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_LIMIT_STEPS = 5
_QUICK_N = 12


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_mutually_exclusive_group()
    least = "print, for a few spectra, the least error of any K quintics beside the rules'"
    kinds.add_argument("--limit", action="store_true", help=least)
    trust = f"print where the default rule fails a bar, or these parts of that: {', '.join(PARTS)}"
    kinds.add_argument("--trust", nargs="*", choices=PARTS, metavar="PART", help=trust)
    parser.add_argument("--n", type=int, default=128, help="smaller side (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="how many of each (default: %(default)s)")
    parser.add_argument("--dtype", choices=_DTYPES, default="float32")
    steps = f"numbers of steps (default: {' '.join(map(str, STEPS))}; with --limit: {_LIMIT_STEPS})"
    parser.add_argument("--k", type=int, nargs="+", metavar="K", help=steps)
    rule = "whose misses are listed (default: adaptive), or which is tried by --trust (default: none named)"
    parser.add_argument("--rule", choices=RULES, help=rule)
    parser.add_argument("--only-summary", action="store_true", help="print no row per spectrum")
    training = "training steps of the text model whose momentum is taken; 0: none (default: %(default)s)"
    parser.add_argument("--training-steps", type=int, default=100, help=training)
    parser.add_argument("--large", action="store_true", help="with --trust tol: n to 2048 (10 minutes more)")
    quick = f"of n = {_QUICK_N} and at most 2 steps, without training"
    parser.add_argument("--quick", action="store_true", help=quick)
    add_option(parser)
    return parser


def _print_limits(arguments: argparse.Namespace) -> None:
    settings = arguments.n, range(arguments.seeds), _DTYPES[arguments.dtype]
    for steps in arguments.k or [_LIMIT_STEPS]:
        print(f"\n{limit_table(steps, *settings)}")
    print(f"\n{LIMIT_NOTES}")


def _print_trust(arguments: argparse.Namespace) -> None:
    made = parts(arguments.rule, arguments.large, arguments.quick)
    print(f"The rule tried: {arguments.rule or 'the default of each function'}")
    for name in arguments.trust or PARTS:
        note(f"{name} ...")
        print(f"\n{made[name]()}", flush=True)


def _compare(arguments: argparse.Namespace) -> None:
    """Measure and print the tables."""
    n, seeds, training = arguments.n, range(arguments.seeds), arguments.training_steps
    if training:
        note("Training the text model ...")
    families = {family: list(matrices) for family, matrices in suite(n, 0, training).items()}
    settings = {"n": n, "seeds": seeds, "dtype": _DTYPES[arguments.dtype], "training_steps": training}
    found = {}
    for name, run in methods().items():
        found[name] = measure(run, steps=arguments.k or STEPS, **settings)
        note(f"  {name}: measured")
    rule = arguments.rule or "adaptive"
    missed = {steps: misses(found, rule, steps) for steps in found[rule]}
    for steps, lines in missed.items():
        print("\n" + steps_table(found, families, steps, not arguments.only_summary))
        print(f"\n{len(lines)} misses of {rule}", *lines, sep="\n")
    print(f"\n{summary_table(found, rule, missed)}\n\n{NOTES}")


def main(words: list[str] | None = None) -> None:
    """The comparison, the limits, or the trust table."""
    parser = _parser()
    arguments = parser.parse_args(words)
    if arguments.quick:
        arguments.n, arguments.k, arguments.training_steps = _QUICK_N, [2], 0
    quiet_torch()
    run, part, free = _compare, "", ["only_summary"]
    if arguments.limit:
        run, part, free = _print_limits, "limit", ["limit"]
    elif arguments.trust is not None:
        run, part, free = _print_trust, "trust", ["large"] if arguments.trust else ["large", "trust"]
    with recorded("spectra", parser, words, part=part, free=free):
        # Two threads on matrices this small mostly wait for each other, the more so on a busy machine.
        torch.set_num_threads(1)
        if run is not _print_trust:
            seeds = f"{arguments.seeds} seed{'s' * (arguments.seeds > 1)}"
            print(f"polar: rms(1-σ) on spectra of n = {arguments.n}, {arguments.dtype}, {seeds}")
        run(arguments)


if __name__ == "__main__":
    sys.exit(main())
