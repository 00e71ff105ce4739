"""Train a small text model by AdamW, Muon and Shampoo, each with several solvers, and compare."""

import argparse
import sys
from dataclasses import replace
from statistics import mean

import torch

from ..common import results
from ..common.compiling import quiet_torch
from ..common.progress import note, show_progress
from ..common.results import add_option, recorded
from ..common.style import can_plot
from ..common.tables import format_table
from ..common.text_model import Corpus, build_model, load_corpus
from .methods import FREQUENCY, PEERS, Method, methods
from .plot import plot_losses
from .runs import FACTORS, Run, best_rate, loss_cells, solver_figures, train

_POINTS = 6
_HEADER = ("method", "rate", "final loss", "spread", "to peer's", "step ms", "solver ms", "ratio", "error")
_NOTES = f"""\
method      the number is that of the solver's steps; Shampoo takes roots every {FREQUENCY} training steps
rate        of the matrices, the best of {len(FACTORS)} in runs of --search-steps (--quick: the middle one);
            of Muon the best of --muon-rates where given
final loss  validation, nats per character, mean over the seeds; spread: largest minus smallest
to peer's   final loss less that of {" or ".join(PEERS.values())} from the same seed, mean and its
            standard error; what seeds differ by is in the spread
step ms     median of an eager training step. solver ms: a step's orthogonalisation or roots by themselves,
            compiled but for --eager, all in turns on the last matrices of one run; ratio: to the peer's
error       rms(1-σ) of the orthogonalised momentum; of the roots the largest to eigh's in float64
            With one thread times are of its processor, else of the clock."""


def _parse(words: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 steps, one seed, eager, rates not tuned")
    parser.add_argument("--steps", type=int, default=200, help="steps of a run (default: %(default)s)")
    parser.add_argument("--search-steps", type=int, default=40, help="steps of a run that tries a rate")
    parser.add_argument("--muon-rates", help="rates of all Muon methods, with commas; one is not searched")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each method (default: %(default)s)")
    parser.add_argument("--width", type=int, default=128, help="width of the model (default: %(default)s)")
    parser.add_argument("--only", help="methods, by name or its beginning, with commas (default: all)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, help="torch's threads (default: its own)")
    parser.add_argument("--eager", action="store_true", help="do not compile the solvers that are timed")
    add_option(parser)
    arguments = parser.parse_args(words)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no CUDA device")
    if arguments.quick:
        arguments.steps, arguments.search_steps, arguments.seeds, arguments.eager = 20, 0, 1, True
    return parser, arguments


def _chosen(only: str | None) -> list[Method]:
    """The methods whose names begin so."""
    found = methods()
    names = only.split(",") if only else [""]
    for name in names:
        if not any(method.name.startswith(name) for method in found):
            sys.exit(f"--only: no method {name!r}; there are {', '.join(method.name for method in found)}")
    return [method for method in found if method.name.startswith(tuple(names))]


def _tuned(corpus: Corpus, chosen: list[Method], arguments: argparse.Namespace) -> dict[str, float]:
    """The rate of each method."""
    found = {}
    for i, method in enumerate(chosen):
        rates = [method.rate * factor for factor in FACTORS]
        if arguments.muon_rates and method.kind == "muon":
            rates = [float(rate) for rate in arguments.muon_rates.split(",")]
        if not arguments.search_steps:
            rates = [method.rate]
        found[method.name] = best_rate(corpus, method, rates, arguments.search_steps, arguments.width)
        show_progress(i + 1, len(chosen), f"rates: {method.name}: {found[method.name]:g}")
    return found


def _trained(
    corpus: Corpus, chosen: list[Method], rates: dict[str, float], arguments: argparse.Namespace
) -> dict[str, list[Run]]:
    """The runs of each method; method by method within a seed, so that a busy spell hits all alike."""
    found: dict[str, list[Run]] = {method.name: [] for method in chosen}
    total = arguments.seeds * len(chosen)
    note(f"Training {arguments.seeds} x {len(chosen)} runs of {arguments.steps} steps ...")
    for i in range(total):
        seed, method = i // len(chosen), chosen[i % len(chosen)]
        run = train(corpus, method, rates[method.name], seed, arguments.steps, arguments.width, _POINTS)
        found[method.name].append(run)
        show_progress(i + 1, total, f"{method.name}: {run.final:.3f}")
    return found


def _compare(corpus: Corpus, arguments: argparse.Namespace) -> None:
    """Search the rates, train by all methods, time their solvers, plot and print the table."""
    chosen = _chosen(arguments.only)
    rates = _tuned(corpus, chosen, arguments)
    found = _trained(corpus, chosen, rates, arguments)
    note("Solvers ...")
    figures = solver_figures(found, chosen, not arguments.eager)
    rows = []
    for method in chosen:
        runs, peer = found[method.name], PEERS.get(method.kind, "")
        solver, error = figures.get(method.name, (0.0, 0.0))
        timed = ("-", "-", "-")
        if solver:
            ratio = f"{solver / figures[peer][0]:.2f}" if peer in figures and peer != method.name else "-"
            timed = (f"{solver:.2f}", ratio, f"{error:.2g}")
        cells = loss_cells(runs, found.get(peer, []))
        step = f"{mean(run.step_ms for run in runs):.1f}"
        rows.append((method.name, f"{rates[method.name]:g}", *cells, step, *timed))
    print(f"\n{format_table(_HEADER, rows)}\n\n{_NOTES}")
    if can_plot():
        plot_losses(found, results.OUT / "train.png")


def main(words: list[str] | None = None) -> None:
    """Train and compare."""
    parser, arguments = _parse(words)
    quiet_torch()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with recorded("train", parser, words):
        corpus = load_corpus()
        corpus = replace(
            corpus,
            training=corpus.training.to(arguments.device),
            validation=corpus.validation.to(arguments.device),
        )
        size = sum(w.numel() for w in build_model(corpus, 0, arguments.width).parameters())
        print(f"{size} parameters, {len(corpus.training)} characters of pydoc_data.topics")
        _compare(corpus, arguments)


if __name__ == "__main__":
    sys.exit(main())
