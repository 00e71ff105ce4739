"""The functions do what `reference.py` says, step by step, eagerly and compiled.

The functions find α on a grid of 32 cells and by two Newton steps, the reference by the roots of a
polynomial. The error of the cell, 1/32, is squared twice, to 1e-6 of the interval, times a ratio of
derivatives: of the order of one up to p = 3, and a hundred for p = 4, where the loss has degree eight.
"""

import numpy
import pytest
import torch

import prism_compile as pc

from . import reference
from .matrices import log_spaced, relative_error, spd, svd_polar, with_singular_values

STEPS, CLOSE = 5, 1e-5


def close(found: torch.Tensor, expected: numpy.ndarray | list[float], by: float = CLOSE) -> bool:
    expected = numpy.asarray(expected)
    return bool(numpy.linalg.norm(found.numpy() - expected) < by * numpy.linalg.norm(expected))


@pytest.mark.parametrize("options", [{}, {"sketch_size": 3, "seed": 7}, {"seed": 2**40 + 1}])
def test_polar(options):
    A = with_singular_values(log_spaced(12, 3000.0), 20, 12)
    U, history = pc.polar(A, rule="prism", steps=STEPS, history=True, **options)
    expected, chosen = reference.polar(A.numpy(), STEPS, **options)
    assert close(history.coefficient, chosen)
    assert close(U, expected)
    # Both are underway, so that equality says something.
    assert relative_error(U, svd_polar(A)) > 10 * CLOSE


def test_square_roots():
    A = spd(12, 300.0)
    (X, Y), history = pc.sqrtm_pair(A, rule="prism", steps=STEPS, history=True)
    root, inverse_root, chosen = reference.sqrtm_pair(A.numpy(), STEPS)
    assert close(history.coefficient, chosen)
    assert close(X, root)
    assert close(Y, inverse_root)


@pytest.mark.parametrize(("p", "by"), [(1, CLOSE), (3, CLOSE), (4, 100 * CLOSE)])
def test_inverse_roots(p, by):
    A = spd(12, 100.0, seed=p)
    X, history = pc.inv_root(A, p, rule="prism", steps=STEPS, history=True)
    expected, chosen = reference.inv_root(A.numpy(), p, STEPS)
    assert close(history.coefficient, chosen, by)
    assert close(X, expected)


def test_compiled():
    A = with_singular_values(log_spaced(12, 3000.0), 20, 12)
    U = torch.compile(pc.polar, fullgraph=True)(A, rule="prism", steps=2)
    assert close(U, reference.polar(A.numpy(), 2)[0])
