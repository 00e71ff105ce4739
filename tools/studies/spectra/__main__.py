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
from .trust.cases import RIVALS
from .trust.compare import compare_table
from .trust.low_rank import low_rank_table

_LIMIT_STEPS = 5


def _print_trust(rule: str | None, quick: bool) -> None:
    print(f"The rule tried: {rule or 'the default of each function'}\n\n{low_rank_table((rule, *RIVALS))}")
    print(f"\n{compare_table(16, rule, (8,)) if quick else compare_table(64, rule)}")


def _compare(arguments: argparse.Namespace, n: int, counts: tuple[int, ...]) -> None:
    """Measure and print the tables."""
    training_steps, found = 0 if arguments.quick else 100, {}
    families = suite(n, training_steps)
    for method in METHODS:
        found[method] = measure(method, counts, n, training_steps)
        note(f"  {method}: measured")
    rule = arguments.rule or "adaptive"
    missed = {steps: misses(found, rule, steps) for steps in counts}
    for steps, lines in missed.items():
        print("\n" + steps_table(found, {} if arguments.only_summary else families, steps))
        print(f"\n{len(lines)} misses of {rule}", *lines, sep="\n")
    print(f"\n{summary_table(found, rule, missed)}\n\n{NOTES}")


def main(words: list[str] | None = None) -> None:
    """The comparison, the limits, or the trust table."""
    parser = parser_of(__doc__, "of n = 12, after 2 steps, without training")
    kinds = parser.add_mutually_exclusive_group()
    least = f"print, for a few spectra, the least error of any {_LIMIT_STEPS} quintics beside the rules'"
    kinds.add_argument("--limit", action="store_true", help=least)
    kinds.add_argument("--trust", action="store_true", help="print where the default rule fails a bar")
    rule = "whose misses are listed (default: adaptive), or which --trust tries (default: none named)"
    parser.add_argument("--rule", choices=RULES, help=rule)
    parser.add_argument("--only-summary", action="store_true", help="print no row per spectrum")
    arguments = parser.parse_args(words)
    n, counts, limited = (12, (2,), 2) if arguments.quick else (128, STEPS, _LIMIT_STEPS)
    quiet_torch()
    part = "limit" if arguments.limit else "trust" if arguments.trust else ""
    with recorded("spectra", parser, words, part=part, free=(part or "only_summary",)):
        # Two threads on matrices this small mostly wait for each other, the more so on a busy machine.
        torch.set_num_threads(1)
        if arguments.trust:
            _print_trust(arguments.rule, arguments.quick)
            return
        print(f"polar: rms(1-σ) on spectra of n = {n}, float32")
        if arguments.limit:
            print(f"\n{limit_table(limited, n)}\n\n{LIMIT_NOTES}")
        else:
            _compare(arguments, n, counts)


if __name__ == "__main__":
    sys.exit(main())
