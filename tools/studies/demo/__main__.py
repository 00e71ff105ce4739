"""Train a small text model and compare, on its own matrices, PRISM with classical and fixed rules."""

import argparse
import sys
import warnings
from functools import partial
from os.path import relpath
from pathlib import Path
from time import perf_counter

import torch

import prism_compile

from ..common.gradient_matrices import GradientMatrices, symmetrised, train
from ..common.text_model import load_corpus
from .plot import Panel, plot_convergence
from .problems import DAMPING, inv_root_table, polar_table, sqrtm_table

_OUT = Path(__file__).resolve().parents[3] / "out" / "demo.png"
_PROJECTION = "blocks.1.attention.out.weight"
_UP = "blocks.1.mlp.up.weight"
_NOTES = f"""\
condition   of A, or of the covariance with the damping {DAMPING:.0e}·tr(A)/n added
steps       5 and 8 for polar; for the roots what steps_for names for tol=1e-3, and the fewest for taylor too
products    counted flops / 2n³ (n the smaller side), the sketch's skinny products included
ms          median on one CPU thread, by torch.compile(fullgraph=True) but for linalg.*
rel. error  Frobenius norm, against the decomposition in float64"""


def plot_panels(matrices: GradientMatrices) -> list[Panel]:
    """The rows of the plot."""
    rules = ("adaptive", "prism", "polar_express", "taylor", "jordan")
    A, C = matrices.momentum[_PROJECTION], symmetrised(matrices.left[_PROJECTION])
    damped_sqrtm = partial(prism_compile.sqrtm, eps=DAMPING)
    return [
        Panel("polar, momentum of attention.out, 128x128", prism_compile.polar, A, rules, 16),
        Panel(
            "sqrtm, covariance GGᵀ of attention.out, 128x128",
            damped_sqrtm,
            C,
            ("adaptive", "prism", "taylor"),
            12,
        ),
    ]


def main() -> None:
    """Train, plot and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300, help="training steps (default: %(default)s)")
    arguments = parser.parse_args()
    # torch's own deprecations, raised while it compiles, are not the reader's concern.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
    began = perf_counter()

    corpus = load_corpus()
    print(f"Training on {len(corpus.training)} characters of pydoc_data.topics, AdamW ...", flush=True)
    matrices = train(corpus, (_PROJECTION, _UP), arguments.steps)
    print(f"  {perf_counter() - began:.0f} s")

    # Two threads on matrices this small mostly wait for each other, the more so on a busy machine.
    torch.set_num_threads(1)
    print("\nPlotting convergence ...", flush=True)
    plot_convergence(plot_panels(matrices), _OUT)
    print(f"  wrote {relpath(_OUT)}")

    momentum = {"attention.out": matrices.momentum[_PROJECTION], "mlp.up": matrices.momentum[_UP]}
    tables = []
    for name, compare, inputs in (
        ("polar", polar_table, momentum),
        ("sqrtm", sqrtm_table, {"attention.out": symmetrised(matrices.left[_PROJECTION])}),
        ("inv_root", inv_root_table, {"mlp.up": symmetrised(matrices.left[_UP])}),
    ):
        print(f"\nCompiling and timing {name} ...", flush=True)
        tables.append(compare(inputs))
    print("\n" + "\n\n".join(tables))
    took = perf_counter() - began
    print(f"\n{_NOTES}\n\ntorch {torch.__version__}, {took:.0f} s in all")


if __name__ == "__main__":
    sys.exit(main())
