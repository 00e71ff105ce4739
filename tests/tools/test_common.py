"""What the studies share: matrices, oracles, counts, clocks, tables, and where results are kept."""

import re
import time
from functools import partial
from pathlib import Path

import numpy
import pytest
import torch

from studies.common import counting, matrices, results, timing

F64 = torch.float64
# Of what is made and decomposed in float64, of conditions of at most 100.
close = partial(torch.testing.assert_close, atol=1e-13, rtol=0)
STUDIES = Path(results.__file__).resolve().parents[1]


def test_matrices_have_their_values_and_oracles_are_functions_of_them():
    values = numpy.array([[3.0, 2.0, 0.5], [1.0, 1.0, 1e-3]])
    for rows in (None, 7):
        made = matrices.with_singular_values(values, rows=rows)
        assert made.shape == (2, rows or 3, 3)
        close(torch.linalg.svdvals(made), torch.from_numpy(values))
    assert not torch.equal(matrices.with_eigenvalues(values), matrices.with_eigenvalues(values, seed=1))
    close(torch.linalg.eigvalsh(matrices.definite(5, 1e4)), torch.logspace(-4, 0, 5, dtype=F64))
    values = numpy.array([-2.0, 0.25, 3.0])
    A, D = matrices.with_eigenvalues(values), matrices.with_eigenvalues(values**2)
    close(matrices.svd_polar(A), matrices.with_eigenvalues(numpy.sign(values)))
    for root, exact in zip(matrices.eigh_sqrt_pair(D), (abs(values), 1 / abs(values))):
        close(root, matrices.with_eigenvalues(exact))
    damped = values**2 + 0.1 * numpy.mean(values**2)
    close(matrices.eigh_power(D, 0.5, eps=0.1), matrices.with_eigenvalues(damped**0.5))


def test_errors_are_the_largest_of_a_batch_and_of_a_pair():
    exact = torch.eye(2, dtype=F64).expand(3, 2, 2)
    result = exact * torch.tensor([1.0, 1.5, 0.75])[:, None, None]
    assert matrices.relative_errors(result, exact).tolist() == [0.0, 0.5, 0.25]
    assert matrices.relative_error((exact, result), (exact, exact)) == 0.5
    error = matrices.orthogonality_error(result[1], result[2])
    assert error == pytest.approx(((0.25 + 0.0625) / 2) ** 0.5)
    assert matrices.deviations(result / torch.tensor([1.0, 0.0, 1.0])[:, None, None]).tolist() == [
        *(0.0, torch.inf, 0.25)
    ]


def test_products_are_counted_per_matrix_of_the_smaller_side():
    A, S = torch.randn(4, 30, 10), torch.randn(4, 10, 2)
    assert counting.matrix_products(lambda: A.mT @ A, A.shape) == 3
    assert counting.matrix_products(lambda: (A.mT @ A) @ S, A.shape) == pytest.approx(3.2)


def test_one_thread_is_timed_by_its_processor(one_thread):
    assert timing.Clock()(lambda: time.sleep(0.2)) < 0.1
    torch.set_num_threads(2)
    assert timing.Clock()(lambda: time.sleep(0.02)) >= 0.02


def test_the_peak_is_what_is_held_at_once():
    def run():
        first = torch.ones(1000) + 1
        del first
        return torch.ones(500) + 1

    # The ones and their sum are held together, with a few scalars; what is freed before is not added to it.
    assert timing.peak_bytes(run) == pytest.approx(2 * 4 * 1000, abs=64)


def test_tables_part_groups_and_totals():
    rows = [("a", "x", "1"), ("", "yy", "10"), ("b", "x", "2")]
    assert results.format_table(("of", "", "ms"), rows, "title", left=(0, 1)).splitlines() == [
        *("title", "", "of      ms", "--  --  --"),
        *("a   x    1", "    yy  10", "", "b   x    2"),
    ]
    rows = [("a", "1"), ("b", "2"), ("all", "3")]
    assert results.format_table(("of", "ms"), rows, total=True).splitlines() == [
        *("of   ms", "---  --", "a     1", "b     2", "---  --", "all   3"),
    ]


def run(*words: str, fail: bool = False) -> None:
    parser = results.parser_of("a study", "little")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int)
    with results.recorded("demo", parser, words):
        print("found\n\n  1.5 ms")
        if fail:
            raise ArithmeticError


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("--threads 2", "studies/demo/results.txt"),
        ("--steps 3", "studies/demo/results.txt"),
        ("--steps 4", "out/demo.txt"),
        ("--quick", "out/demo.txt"),
        ("--steps 4 --results four", "studies/demo/results-four.txt"),
    ],
)
def test_a_run_is_kept_by_what_it_was(folders, capsys, words, path):
    """No part of a run takes the place of the whole."""
    run(*words.split())
    assert capsys.readouterr().out == "found\n\n  1.5 ms\n"
    assert [str(p.relative_to(folders)) for p in folders.rglob("*.txt")] == [path]
    command, made, machine, blank, *lines = (folders / path).read_text().splitlines()
    assert command == f"tools/demo {words}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d, torch \S+, Python [\d.]+\S*, \d+ s", made)
    assert re.fullmatch(r".+, \d+ cores?, \d+ threads?", machine)
    assert (blank, lines) == ("", ["found", "", "  1.5 ms"])


def test_a_run_that_fails_or_is_quick_takes_no_place(folders):
    with pytest.raises(ArithmeticError):
        run(fail=True)
    with pytest.raises(SystemExit):
        run("--quick", "--results", "some")
    assert not list(folders.rglob("*.txt"))


def test_kept_results_tell_their_command():
    kept = sorted(STUDIES.glob("*/results*.txt"))
    assert kept
    for path in kept:
        first = path.read_text().splitlines()[0]
        assert first.split()[0] == f"tools/{path.parent.name}", path
        assert "--quick" not in first, path
