"""Train a small text model by AdamW, Muon and Shampoo, each with several solvers, and compare."""

import argparse
import sys
from statistics import mean

import torch

from ..common import results
from ..common.compiling import quiet_torch
from ..common.progress import note, show_progress
from ..common.results import add_option, recorded
from ..common.tables import format_table
from ..common.text_model import Corpus, build_model, load_corpus
from .methods import FREQUENCY, PEER, Method, methods
from .plot import plot_losses
from .roots import ROOTS_HEADER, ROOTS_TITLE, STUDY_HEADER, STUDY_NOTES, root_rows, study
from .runs import FACTORS, Run, best_rate, loss_cells, train

_POINTS = 6
_HEADER = (
    "method",
    "rate",
    "final loss",
    "spread",
    "to torch's",
    "ms per step",
    "optimizer",
    "solver",
    "share",
    "ratio",
    "rms(1-σ)",
)
_NOTES = f"""\
method      Muon's number is that of its iterations; Shampoo takes roots every {FREQUENCY} steps
ms          of processor time with one thread, else of the clock
rate        of the matrices, the best of {len(FACTORS)} in runs of --search-steps (--quick: the middle one);
            of Muon the best of --muon-rates where given
final loss  validation, nats per character, mean over the seeds; spread: largest minus smallest
to torch's  final loss less that of {PEER} from the same seed, mean and its standard error
optimizer   ms of a step of the matrices' optimizer; solver: in orthogonalisation or inverse roots; share: of
            the whole step; ratio: to the solver of {PEER}. This library's includes forming the direction in
            the batch, torch's does not.
rms(1-σ)    of the orthogonalised momentum at the last step, over all matrices"""


def _parse(words: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 steps, one seed, eager, rates not tuned")
    parser.add_argument("--steps", type=int, default=200, help="steps of a run (default: %(default)s)")
    parser.add_argument("--search-steps", type=int, default=40, help="steps of a run that tries a rate")
    parser.add_argument("--muon-rates", help="rates of all Muon methods, with commas; one is not searched")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each method (default: %(default)s)")
    parser.add_argument("--width", type=int, default=128, help="width of the model (default: %(default)s)")
    parser.add_argument("--only", help="methods, by name, with commas (default: all)")
    parser.add_argument("--roots", action="store_true", help="Shampoo's loss by the exactness of its roots")
    parser.add_argument("--threads", type=int, help="torch's threads (default: its own)")
    parser.add_argument("--eager", action="store_true", help="do not compile the library's solvers")
    add_option(parser)
    arguments = parser.parse_args(words)
    if arguments.quick:
        arguments.steps, arguments.search_steps, arguments.seeds, arguments.eager = 20, 0, 1, True
    return parser, arguments


def _chosen(only: str | None, compile: bool) -> list[Method]:
    """The methods of these names."""
    found = methods(compile)
    if only is None:
        return found
    names, known = only.split(","), [method.name for method in found]
    for name in names:
        if name not in known:
            sys.exit(f"--only: no method {name!r}; there are {', '.join(known)}")
    return [method for method in found if method.name in names]


def _rates(method: Method, muon_rates: str | None) -> list[float]:
    """The rates that are tried for a method."""
    if muon_rates is not None and method.kind == "muon":
        return [float(rate) for rate in muon_rates.split(",")]
    return [method.rate * factor for factor in FACTORS]


def _tuned(corpus: Corpus, chosen: list[Method], arguments: argparse.Namespace) -> dict[str, float]:
    if not arguments.search_steps:
        return {method.name: method.rate for method in chosen}
    found = {}
    for i, method in enumerate(chosen):
        rates = _rates(method, arguments.muon_rates)
        found[method.name] = best_rate(corpus, method, rates, arguments.search_steps, arguments.width)
        show_progress(i + 1, len(chosen), f"{method.name}: {found[method.name]:g}")
    return found


def _row(name: str, rate: float, runs: list[Run], peers: list[Run]) -> tuple[str, ...]:
    step, solver = mean(run.step_ms for run in runs), mean(run.solver_ms for run in runs)
    compared = bool(peers) and runs is not peers
    ratio = f"{solver / mean(run.solver_ms for run in peers):.2f}" if compared and solver else "-"
    timed = (f"{solver:.2f}", f"{solver / step:.1%}", ratio) if solver else ("-", "-", "-")
    return (
        name,
        f"{rate:g}",
        *loss_cells(runs, peers),
        f"{step:.1f}",
        f"{mean(run.optimizer_ms for run in runs):.2f}",
        *timed,
        "-" if runs[0].quality is None else f"{mean(run.quality for run in runs):.3f}",
    )


def _trained(
    corpus: Corpus, chosen: list[Method], rates: dict[str, float], arguments: argparse.Namespace
) -> dict[str, list[Run]]:
    """The runs of each method; method by method within a seed, so that a busy spell hits all alike."""
    found: dict[str, list[Run]] = {method.name: [] for method in chosen}
    total = arguments.seeds * len(chosen)
    note(f"Training {arguments.seeds} x {len(chosen)} runs of {arguments.steps} steps ...")
    for i in range(total):
        seed, method = i // len(chosen), chosen[i % len(chosen)]
        rate = rates[method.name]
        run = train(corpus, method, rate, seed, arguments.steps, arguments.width, points=_POINTS)
        found[method.name].append(run)
        show_progress(i + 1, total, f"{method.name}: {run.final:.3f}")
    return found


def _compare(corpus: Corpus, arguments: argparse.Namespace) -> None:
    """Search the rates, train by all methods, plot and print the tables."""
    note("Rates ...")
    # The rate does not depend on the graphs, and each of the many short runs would compile its own.
    rates = _tuned(corpus, _chosen(arguments.only, compile=False), arguments)
    found = _trained(corpus, _chosen(arguments.only, not arguments.eager), rates, arguments)
    peers = found.get(PEER, [])
    rows = [_row(name, rates[name], runs, peers) for name, runs in found.items()]
    print(f"\n{format_table(_HEADER, rows)}\n\n{_NOTES}")
    if "Shampoo prism" in found:
        roots = root_rows(found["Shampoo prism"][-1].factors, not arguments.eager)
        print(f"\n{format_table(ROOTS_HEADER, roots, ROOTS_TITLE, left=(0, 1))}")
    plot_losses(found, results.OUT / "train.png")


def _study_roots(corpus: Corpus, arguments: argparse.Namespace) -> None:
    """Train by Shampoo with roots of several numbers of steps, at the rate that is best with eigh's."""
    peer = [method for method in methods(compile=False) if method.name == "Shampoo eigh"]
    rate = _tuned(corpus, peer, arguments)[peer[0].name]
    steps, seeds, width = arguments.steps, arguments.seeds, arguments.width
    rows = study(corpus, rate, steps, seeds, width, not arguments.eager)
    print(f"\n{format_table(STUDY_HEADER, rows, f'Shampoo at rate {rate:g}')}\n\n{STUDY_NOTES}")


def main(words: list[str] | None = None) -> None:
    """Make one study or the other."""
    parser, arguments = _parse(words)
    quiet_torch()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    part = "roots" if arguments.roots else ""
    with recorded("train", parser, words, part=part, free=("threads", "roots")):
        corpus = load_corpus()
        size = sum(w.numel() for w in build_model(corpus, 0, arguments.width).parameters())
        print(f"{size} parameters, {len(corpus.training)} characters of pydoc_data.topics")
        (_study_roots if arguments.roots else _compare)(corpus, arguments)


if __name__ == "__main__":
    sys.exit(main())
