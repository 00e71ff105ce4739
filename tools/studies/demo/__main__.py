"""Train a small text model and compare, on its own matrices, PRISM with classical and fixed rules."""

import argparse
import sys
from functools import partial

import torch

import prism_compile

from ..common import results
from ..common.compiling import quiet_torch
from ..common.gradient_matrices import GradientMatrices, train
from ..common.matrices import symmetrised
from ..common.progress import note
from ..common.results import add_option, recorded
from ..common.text_model import load_corpus
from .plot import Panel, plot_convergence
from .problems import DAMPING, inv_root_table, polar_table, sqrtm_table

_PROJECTION = "blocks.1.attention.out.weight"
_UP = "blocks.1.mlp.up.weight"
_NOTES = f"""\
condition   of A, or of the covariance with the damping {DAMPING:.0e}·tr(A)/n added
steps       5 and 8 for polar; for the roots what steps_for names for tol=1e-3, and the fewest for taylor too
products    counted flops / 2n³ (n the smaller side), the sketch's skinny products included
ms          median of one thread's processor time, by torch.compile(fullgraph=True) but for linalg.*
rel. error  Frobenius norm, against the decomposition in float64"""


def plot_panels(matrices: GradientMatrices) -> list[Panel]:
    """The rows of the plot."""
    rules = ("adaptive", "prism", "polar_express", "taylor", "jordan")
    A, C = matrices.momentum[_PROJECTION], symmetrised(matrices.left[_PROJECTION])
    damped_sqrtm = partial(prism_compile.sqrtm, eps=DAMPING)
    fitted = ("adaptive", "prism", "taylor")
    return [
        Panel("polar, momentum of attention.out, one run of 16 steps", prism_compile.polar, A, rules, 16),
        Panel("sqrtm, covariance GGᵀ of attention.out, one run of 12 steps", damped_sqrtm, C, fitted, 12),
    ]


def tables(matrices: GradientMatrices, quick: bool) -> list[str]:
    """Of the three functions; quick: without graphs, timed three times."""
    momentum = {"attention.out": matrices.momentum[_PROJECTION], "mlp.up": matrices.momentum[_UP]}
    made = []
    for name, compare, inputs in (
        ("polar", polar_table, momentum),
        ("sqrtm", sqrtm_table, {"attention.out": symmetrised(matrices.left[_PROJECTION])}),
        ("inv_root", inv_root_table, {"mlp.up": symmetrised(matrices.left[_UP])}),
    ):
        note(f"Compiling and timing {name} ...")
        made.append(compare(inputs, quick))
    return made


def main(words: list[str] | None = None) -> None:
    """Train, plot and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 training steps, nothing compiled")
    parser.add_argument("--steps", type=int, default=300, help="training steps (default: %(default)s)")
    add_option(parser)
    arguments = parser.parse_args(words)
    quiet_torch()
    with recorded("demo", parser, words):
        corpus = load_corpus()
        note(f"Training on {len(corpus.training)} characters of pydoc_data.topics, AdamW ...")
        matrices = train(corpus, (_PROJECTION, _UP), 3 if arguments.quick else arguments.steps)
        # Two threads on matrices this small mostly wait for each other, the more so on a busy machine.
        torch.set_num_threads(1)
        plot_convergence(plot_panels(matrices), results.OUT / "demo.png")
        print("\n\n".join([*tables(matrices, arguments.quick), _NOTES]))


if __name__ == "__main__":
    sys.exit(main())
