"""The probes: blocks are what their polynomials say, on matrices and on known spectra."""

import pytest
import torch

from ..matrices import F64, gaussian, spd
from .probing import signs, sketch_probe, spectrum_probe

COUNTS = [(None, count) for count in range(3, 8)] + [(0.0, count) for count in (4, 6, 8, 10)]


@pytest.mark.parametrize(("shift", "count"), COUNTS)
def test_powers_with_and_without_the_square(shift, count):
    R = gaussian(2, 10, 10) / 10
    (S,) = signs(10, 3, 1, 0)
    blocks = sketch_probe(R, 3, shift).powers(count)
    assert len(blocks) == count
    for j, block in enumerate(blocks):
        torch.testing.assert_close(block, (S @ torch.linalg.matrix_power(R, j)).expand(2, 3, 10))


@pytest.mark.parametrize(("c", "d"), [(0.0, 1.0), (-0.7, 2.5)])
def test_pairs_follow_their_recurrence(c, d):
    R, shift, q = gaussian(2, 10, 10) / 10, 0.99, 3
    (S,) = signs(10, q, 1, 0)
    W = c * torch.eye(10, dtype=F64) + d * (R @ R - shift * R)
    pairs = sketch_probe(R, q, shift).pairs(3, c, d)
    assert len(pairs) == 3
    for j, pair in enumerate(pairs):
        raised = torch.linalg.matrix_power(W, j)
        torch.testing.assert_close(pair[:, :q], S @ raised)
        torch.testing.assert_close(pair[:, q:], S @ R @ raised)


def test_inner_products_estimate_traces():
    R = spd(60, 10.0)[None]
    blocks = sketch_probe(R, 4096, None).powers(3)
    for i in range(3):
        for j in range(3):
            exact = torch.linalg.matrix_power(R[0], i + j).trace()
            # Standard deviation of a sign estimate is under √(2/q)·‖B‖_F.
            assert (blocks[i] * blocks[j]).sum() / 4096 == pytest.approx(exact.item(), rel=0.05)


def test_a_known_spectrum_has_exact_moments():
    r = torch.linspace(-0.2, 1, 40, dtype=F64)
    blocks = spectrum_probe(r, 0.0, q=2).powers(6)
    for i in range(6):
        for j in range(6):
            torch.testing.assert_close((blocks[i] * blocks[j]).sum() / 2, (r ** (i + j)).sum())


def test_both_probes_see_a_diagonal_matrix_alike():
    r = torch.linspace(0.1, 0.9, 20, dtype=F64)
    seen, known = sketch_probe(torch.diag(r)[None], 2, 0.99), spectrum_probe(r, 0.99, q=2)
    for block, expected in zip(seen.pairs(4, -0.5, 1.5), known.pairs(4, -0.5, 1.5)):
        torch.testing.assert_close(block, expected, atol=1e-14, rtol=0)
