"""Compare the quintic rules, and CANS, on many spectra: the error after equal numbers of steps."""

import argparse
import sys

import torch

from ..common import RULES
from ..common.results import note, parser_of, recorded
from ..common.timing import quiet_torch
from .compare import METHODS, NOTES, STEPS, measure, misses, steps_table, summary_table
from .limit import LIMIT_NOTES, limit_table
from .suite import suite
from .trust import PARTS, parts

_LIMIT_STEPS = 5


def _print_limits(arguments: argparse.Namespace, n: int) -> None:
    for steps in arguments.k or [_LIMIT_STEPS]:
        print(f"\n{limit_table(steps, n)}")
    print(f"\n{LIMIT_NOTES}")


def _print_trust(arguments: argparse.Namespace) -> None:
    made = parts(arguments.rule, arguments.quick)
    print(f"The rule tried: {arguments.rule or 'the default of each function'}")
    for name in arguments.trust or PARTS:
        note(f"{name} ...")
        print(f"\n{made[name]()}", flush=True)


def _compare(arguments: argparse.Namespace, n: int) -> None:
    """Measure and print the tables."""
    training_steps, found = 0 if arguments.quick else 100, {}
    families = suite(n, training_steps)
    for method in METHODS:
        found[method] = measure(method, arguments.k or STEPS, n, training_steps)
        note(f"  {method}: measured")
    rule = arguments.rule or "adaptive"
    missed = {steps: misses(found, rule, steps) for steps in found[rule]}
    for steps, lines in missed.items():
        print("\n" + steps_table(found, {} if arguments.only_summary else families, steps))
        print(f"\n{len(lines)} misses of {rule}", *lines, sep="\n")
    print(f"\n{summary_table(found, rule, missed)}\n\n{NOTES}")


def main(words: list[str] | None = None) -> None:
    """The comparison, the limits, or the trust table."""
    parser = parser_of(__doc__, "of n = 12, after 2 steps, without training")
    kinds = parser.add_mutually_exclusive_group()
    least = "print, for a few spectra, the least error of any K quintics beside the rules'"
    kinds.add_argument("--limit", action="store_true", help=least)
    trust = f"print where the default rule fails a bar, or these parts of that: {', '.join(PARTS)}"
    kinds.add_argument("--trust", nargs="*", choices=PARTS, metavar="PART", help=trust)
    steps = f"numbers of steps (default: {' '.join(map(str, STEPS))}; with --limit: {_LIMIT_STEPS})"
    parser.add_argument("--k", type=int, nargs="+", metavar="K", help=steps)
    rule = "whose misses are listed (default: adaptive), or which --trust tries (default: none named)"
    parser.add_argument("--rule", choices=RULES, help=rule)
    parser.add_argument("--only-summary", action="store_true", help="print no row per spectrum")
    arguments = parser.parse_args(words)
    n = 128
    if arguments.quick:
        n, arguments.k = 12, [2]
    quiet_torch()
    part, free = "", ["only_summary"]
    if arguments.limit:
        part, free = "limit", ["limit"]
    elif arguments.trust is not None:
        part, free = "trust", [] if arguments.trust else ["trust"]
    with recorded("spectra", parser, words, part=part, free=free):
        # Two threads on matrices this small mostly wait for each other, the more so on a busy machine.
        torch.set_num_threads(1)
        if part == "trust":
            _print_trust(arguments)
        else:
            print(f"polar: rms(1-σ) on spectra of n = {n}, float32")
            (_print_limits if part else _compare)(arguments, n)


if __name__ == "__main__":
    sys.exit(main())
