"""What the studies share: matrices, oracles, counts, clocks and tables."""

import time
from functools import partial

import numpy
import pytest
import torch

from studies.common import counting, matrices, memory, oracles, tables, timing

F64 = torch.float64


def test_matrices_have_their_values():
    values = numpy.array([[3.0, 2.0, 0.5], [1.0, 1.0, 1e-3]])
    # Made and decomposed in float64.
    close = partial(torch.testing.assert_close, atol=1e-13, rtol=0)
    close(torch.linalg.svdvals(matrices.with_singular_values(values)), torch.from_numpy(values))
    A = matrices.with_eigenvalues(-values)
    assert torch.equal(A, A.mT)
    close(torch.linalg.eigvalsh(A), -torch.from_numpy(values))
    assert not torch.equal(A, matrices.with_eigenvalues(-values, seed=1))
    B = matrices.definite(5, 1e4, (2,))
    close(torch.linalg.eigvalsh(B), torch.logspace(-4, 0, 5, dtype=F64).expand(2, 5))


def test_oracles_are_functions_of_the_values():
    values = numpy.array([-2.0, 0.25, 3.0])
    A = matrices.with_eigenvalues(values)
    # Conditions of at most 100 in float64.
    close = partial(torch.testing.assert_close, atol=1e-13, rtol=0)
    close(oracles.svd_polar(A), matrices.with_eigenvalues(numpy.sign(values)))
    D = matrices.with_eigenvalues(values**2)
    close(oracles.eigh_power(D, -0.5), matrices.with_eigenvalues(1 / abs(values)))
    for root, exact in zip(oracles.eigh_sqrt_pair(D), (abs(values), 1 / abs(values))):
        close(root, matrices.with_eigenvalues(exact))
    damped = values**2 + 0.1 * numpy.mean(values**2)
    close(oracles.eigh_power(D, 0.5, eps=0.1), matrices.with_eigenvalues(damped**0.5))


def test_errors_are_the_largest_of_a_batch_and_of_a_pair():
    exact = torch.eye(2, dtype=F64).expand(3, 2, 2)
    result = exact * torch.tensor([1.0, 1.5, 0.75])[:, None, None]
    assert oracles.relative_errors(result, exact).tolist() == [0.0, 0.5, 0.25]
    assert oracles.relative_error((exact, result), (exact, exact)) == 0.5
    assert oracles.orthogonality_error(result[1], result[2]) == pytest.approx(((0.25 + 0.0625) / 2) ** 0.5)


def test_products_are_counted_per_matrix_of_the_smaller_side():
    A = torch.randn(4, 30, 10)
    assert counting.matrix_products(lambda: A.mT @ A, A.shape) == 3
    S = torch.randn(4, 10, 2)
    assert counting.matrix_products(lambda: (A.mT @ A) @ S, A.shape) == pytest.approx(3.2)


def test_one_thread_is_timed_by_its_processor(one_thread):
    assert timing.Clock()(lambda: time.sleep(0.2)) < 0.1
    torch.set_num_threads(2)
    assert timing.Clock()(lambda: time.sleep(0.02)) >= 0.02


def test_tables_part_groups_and_totals():
    rows = [("a", "x", "1"), ("", "yy", "10"), ("b", "x", "2")]
    assert tables.format_table(("of", "", "ms"), rows, "title", left=(0, 1)).splitlines() == [
        *("title", "", "of      ms", "--  --  --"),
        *("a   x    1", "    yy  10", "", "b   x    2"),
    ]
    assert tables.format_table(
        ("of", "ms"), [("a", "1"), ("b", "2"), ("all", "3")], total=True
    ).splitlines() == [
        *("of   ms", "---  --", "a     1", "b     2", "---  --", "all   3"),
    ]


def test_the_peak_is_what_is_held_at_once():
    def run():
        first = torch.ones(1000) + 1
        del first
        return torch.ones(500) + 1

    # The ones and their sum are held together, with a few scalars; what is freed before is not added to it.
    assert memory.peak_bytes(run) == pytest.approx(2 * 4 * 1000, abs=64)
