"""Train a small text model by AdamW, Muon and Shampoo, each with several solvers, and compare."""

import argparse
import sys
from dataclasses import replace
from statistics import mean

import torch

from ..common.results import format_table, note, on_device, parser_of, recorded, show_progress
from ..common.text_model import Corpus, build_model, load_corpus
from ..common.timing import quiet_torch
from .methods import FREQUENCY, PEERS, Method, methods
from .runs import FACTORS, Run, best_rate, loss_cells, solver_figures, train

_SEARCH_STEPS = 40
_HEADER = ("method", "rate", "final loss", "spread", "to peer's", "step ms", "solver ms", "ratio", "error")
_NOTES = f"""\
method      the number is that of the solver's steps; Shampoo takes roots every {FREQUENCY} training steps
rate        of the matrices, the best of {len(FACTORS)} in runs of {_SEARCH_STEPS} steps (--quick: the middle
            one); of Muon the best of --muon-rates where given
final loss  validation, nats per character, mean over the seeds; spread: largest minus smallest
to peer's   final loss less that of {" or ".join(PEERS.values())} from the same seed, mean and its
            standard error; what seeds differ by is in the spread
step ms     median of an eager training step. solver ms: a step's orthogonalisation or roots by themselves,
            compiled but for --quick, all in turns on the last matrices of one run; ratio: to the peer's
error       rms(1-σ) of the orthogonalised momentum; of the roots the largest to eigh's in float64
            With one thread times are of its processor, else of the clock."""


def _chosen(only: str) -> list[Method]:
    """The methods whose names begin so."""
    found, names = methods(), only.split(",")
    for name in names:
        if not any(method.name.startswith(name) for method in found):
            sys.exit(f"--only: no method {name!r}; there are {', '.join(method.name for method in found)}")
    return [method for method in found if method.name.startswith(tuple(names))]


def _rate(corpus: Corpus, method: Method, arguments: argparse.Namespace) -> float:
    """The best of a grid."""
    if arguments.quick:
        return method.rate
    rates = [method.rate * factor for factor in FACTORS]
    if arguments.muon_rates and method.kind == "muon":
        rates = [float(rate) for rate in arguments.muon_rates.split(",")]
    return best_rate(corpus, method, rates, _SEARCH_STEPS, arguments.width)


def _trained(
    corpus: Corpus, chosen: list[Method], rates: dict[str, float], arguments: argparse.Namespace
) -> dict[str, list[Run]]:
    """The runs of each method; method by method within a seed, so that a busy spell hits all alike."""
    found: dict[str, list[Run]] = {method.name: [] for method in chosen}
    seeds, steps = (1, 20) if arguments.quick else (arguments.seeds, arguments.steps)
    total = seeds * len(chosen)
    note(f"Training {seeds} x {len(chosen)} runs of {steps} steps ...")
    for i in range(total):
        seed, method = i // len(chosen), chosen[i % len(chosen)]
        run = train(corpus, method, rates[method.name], seed, steps, arguments.width)
        found[method.name].append(run)
        show_progress(i + 1, total, f"{method.name}: {run.loss:.3f}")
    return found


def _compare(corpus: Corpus, arguments: argparse.Namespace) -> None:
    """Search the rates, train by all methods, time their solvers and print the table."""
    chosen, rates, rows = _chosen(arguments.only), {}, []
    for i, method in enumerate(chosen):
        rates[method.name] = _rate(corpus, method, arguments)
        show_progress(i + 1, len(chosen), f"rates: {method.name}: {rates[method.name]:g}")
    found = _trained(corpus, chosen, rates, arguments)
    note("Solvers ...")
    figures = solver_figures(found, chosen, not arguments.quick)
    for method in chosen:
        runs, peer, timed = found[method.name], PEERS.get(method.kind, ""), ("-", "-", "-")
        if method.name in figures:
            solver, error = figures[method.name]
            ratio = f"{solver / figures[peer][0]:.2f}" if peer in figures and peer != method.name else "-"
            timed = (f"{solver:.2f}", ratio, f"{error:.2g}")
        cells = loss_cells(runs, found.get(peer, []))
        step = f"{mean(run.step_ms for run in runs):.1f}"
        rows.append((method.name, f"{rates[method.name]:g}", *cells, step, *timed))
    print(f"\n{format_table(_HEADER, rows)}\n\n{_NOTES}")


def main(words: list[str] | None = None) -> None:
    """Train and compare."""
    parser = parser_of(__doc__, "20 steps, one seed, nothing compiled, rates not tuned")
    parser.add_argument("--steps", type=int, default=200, help="steps of a run (default: %(default)s)")
    parser.add_argument("--muon-rates", help="rates of all Muon methods, with commas; one is not searched")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each method (default: %(default)s)")
    parser.add_argument("--width", type=int, default=128, help="width of the model (default: %(default)s)")
    parser.add_argument("--only", default="", help="methods, by name or its beginning, with commas")
    parser.add_argument("--threads", type=int, help="torch's threads (default: its own)")
    on_device(parser)
    arguments = parser.parse_args(words)
    quiet_torch()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with recorded("train", parser, words):
        corpus = load_corpus()
        held = {name: getattr(corpus, name).to(arguments.device) for name in ("training", "validation")}
        corpus = replace(corpus, **held)
        size = sum(w.numel() for w in build_model(corpus, 0, arguments.width).parameters())
        print(f"{size} parameters, {len(corpus.training)} characters of pydoc_data.topics")
        _compare(corpus, arguments)


if __name__ == "__main__":
    sys.exit(main())
