"""Count the steps to a tolerance on the paper's matrices, of PRISM, the classical iteration and ours."""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from math import inf

import numpy
import torch
from numpy import ndarray
from torch import Tensor

from prism_compile import polar, sqrtm_pair

from ..common.counting import matrix_products
from ..common.matrices import gaussian, symmetrised, with_singular_values
from ..common.results import format_table, note, parser_of, recorded

_TOLERANCE, _STEPS, _MOST_ADAPTIVE = 1e-2, (12, 24, 64), 24
# What the marks of the paper's figure D.2 allow, of quintic PRISM on 8000x4000.
_READ = {"HTMP κ=100": "7-9", "HTMP κ=0.5": "17-19", "HTMP κ=0.1": "17-19"}
_METHODS: dict[str, dict] = {
    "PRISM": {"rule": "prism", "scaling": "frobenius"},
    "classical": {"rule": "taylor", "scaling": "frobenius"},
    "Polar Express": {"rule": "polar_express"},
    "prism": {"rule": "prism"},
    "adaptive": {"rule": "adaptive"},
}
_DEGREES, _QUINTIC = {"cubic": 1, "quintic": 2}, ("Polar Express", "adaptive")
_NOTES = f"""\
cell       steps until ‖I - XᵀX‖_F, of roots ‖I - YX‖_F, is at most {_TOLERANCE:g}: of the seeds the
           median (least-most), and products of n·n·n in such a run; -: more than {_STEPS[-1]}
read       off figure D.2 of the paper, to a mark's width; it tells no tolerance, seed, generator or numbers
PRISM      the paper's, by Frobenius norm; classical: the same with Taylor's coefficient. With more columns
           the scaled values are smaller, and so is the tolerance for each: see `--size`, of half the paper's
prism      the library's, by a Schatten norm. adaptive: each number of steps, to {_MOST_ADAPTIVE}, is a run;
           below 8 it trades this tolerance for the mean error
HTMP κ     singular values of the β-Laguerre ensemble, β = κ/n (arXiv 2506.03470), random singular vectors.
           For κ = 0.5 the least are 1e-4 to 1e-9 of the norm, for 0.1 below 1e-20: what is lifted there is
           rounding to float32, which adaptive leaves where it is from 8 steps on
roots      sqrtm_pair of AᵀA in float64, which cannot hold κ = 0.1; of the paper's no figure is known here"""


def htmp(m: int, n: int, kappa: float, seed: int) -> ndarray:
    """Singular values `[n]` of the high-temperature Marchenko–Pastur ensemble: of a bidiagonal of χ."""
    random, beta, below = numpy.random.default_rng(seed), kappa / n, numpy.arange(n)
    diagonal = numpy.sqrt(random.chisquare(beta * (m - below)))
    other = numpy.sqrt(random.chisquare(beta * (n - 1 - below[:-1])))
    return numpy.linalg.svd(numpy.diag(diagonal) + numpy.diag(other, -1), compute_uv=False)


def _heavy(kappa: float, n: int, seed: int) -> Tensor:
    return with_singular_values(htmp(2 * n, n, kappa, seed), seed, rows=2 * n)


def _gaussian(aspect: int, n: int, seed: int) -> Tensor:
    return gaussian((aspect * n, n), torch.float64, seed)


MATRICES: dict[str, Callable[[int, int], Tensor]] = {
    **{f"Gaussian {aspect}:1": partial(_gaussian, aspect) for aspect in (1, 4)},
    **{f"HTMP κ={kappa:g}": partial(_heavy, kappa) for kappa in (100, 0.5, 0.1)},
}
FUNCTIONS = {"polar": partial(polar, form="direct"), "sqrtm_pair": sqrtm_pair}


def _reached(residuals: Tensor, n: int) -> list[float]:
    """The first place of each row of rms residuals within the tolerance in the Frobenius norm; ∞ for none."""
    within = residuals * n**0.5 <= _TOLERANCE
    return [int(row.int().argmax()) if row.any() else inf for row in within]


def steps_needed(call: Callable[..., object], A: Tensor, options: dict) -> list[float]:
    """Of each matrix of a batch, the steps to the tolerance."""
    adaptive, last = options["rule"] == "adaptive", []
    for steps in range(1, _MOST_ADAPTIVE + 1) if adaptive else _STEPS:
        residuals = call(A, steps=steps, history=True, **options)[-1].residual
        # What adaptive does in a step depends on how many there are: only its last residual counts.
        last.append(residuals[..., -1:])
        found = _reached(torch.cat(last, 1) if adaptive else residuals[..., :-1], A.shape[-1])
        if inf not in found:
            break
    return [steps + adaptive for steps in found]


def _cell(call: Callable[..., object], A: Tensor, options: dict) -> str:
    found = sorted(steps_needed(call, A, options))
    least, steps, most = found[0], found[len(found) // 2], found[-1]
    if steps == inf:
        return "-"
    run = partial(call, torch.empty_like(A, device="meta"), steps=steps, **options)
    return f"{steps} ({least}-{'' if most == inf else most}), {matrix_products(run, A.shape):.0f}"


def _table(name: str, A: dict[str, Tensor], degrees: dict[str, int], methods: Iterable[str]) -> str:
    rows = []
    for kind, batch in A.items():
        for words, degree in degrees.items():
            note(f"{name}: {kind}, {words}")
            own = [m for m in methods if degree == 2 or m not in _QUINTIC]
            cells = {m: _cell(FUNCTIONS[name], batch, {"degree": degree, **_METHODS[m]}) for m in own}
            read = _READ.get(kind, "") if name == "polar" and degree == 2 else ""
            row = ("" if rows and rows[-1][1] == "cubic" else kind, words, read)
            rows.append((*row, *(cells.get(method, "") for method in methods)))
    title = f"{name}, {batch.shape[-1]} columns, {len(batch)} seeds"
    return format_table(("", "", "read", *methods), rows, title, left=(0, 1))


def main(words: list[str] | None = None) -> None:
    """Count and print."""
    parser = parser_of(__doc__, "16 columns, one seed")
    parser.add_argument("--size", action="store_true", help="PRISM alone, near the paper's size: 4000x2000")
    arguments = parser.parse_args(words)
    kinds, n, seeds = (_READ, 2000, 1) if arguments.size else (MATRICES, 400, 5)
    if arguments.quick:
        n, seeds = 16, 1
    with recorded("paper", parser, words, part="size" * arguments.size, free=("size",)):
        A = {kind: torch.stack([MATRICES[kind](n, seed) for seed in range(seeds)]) for kind in kinds}
        single = {kind: batch.float() for kind, batch in A.items()}
        if arguments.size:
            print(_table("polar", single, {"quintic": 2}, ["PRISM"]))
        else:
            print(_table("polar", single, _DEGREES, _METHODS), end="\n\n", flush=True)
            gram = {kind: symmetrised(batch.mT @ batch) for kind, batch in A.items()}
            print(_table("sqrtm_pair", gram, _DEGREES, _METHODS))
        print(f"\n{_NOTES}")


if __name__ == "__main__":
    sys.exit(main())
