"""tools/paper: the matrices are of their ensemble, steps are those of runs, and the command counts."""

import numpy
import pytest
import torch

import prism_compile as pc
from studies.paper.__main__ import FUNCTIONS, MATRICES, htmp, main, steps_needed


@pytest.mark.parametrize("kappa", [0.5, 20.0])
def test_the_ensemble_has_its_mean(kappa):
    m, n, draws = 24, 12, 4000
    found = [numpy.square(htmp(m, n, kappa, seed)).sum() for seed in range(draws)]
    # The trace is χ² of β m n = κ m degrees of freedom, whose variance is twice that; five deviations.
    assert abs(numpy.mean(found) - kappa * m) < 5 * (2 * kappa * m / draws) ** 0.5


def test_the_ensemble_of_β_one_is_gaussian():
    m, n, draws = 24, 12, 400
    ours = [htmp(m, n, n, seed) for seed in range(draws)]
    random = numpy.random.default_rng(0)
    gaussian = [numpy.linalg.svd(random.standard_normal((m, n)), compute_uv=False) for _ in range(draws)]
    # Each value's deviation is below .5, that of a difference of two means below .036.
    assert abs(numpy.mean(ours, 0) - numpy.mean(gaussian, 0)).max() < 5 * 0.036


@pytest.mark.parametrize(
    "options", [{"rule": "prism", "degree": 1}, {"rule": "taylor"}, {"rule": "adaptive"}]
)
def test_steps_are_those_of_the_first_run_within_the_tolerance(options, one_thread):
    A = torch.stack([MATRICES["HTMP κ=100"](24, seed) for seed in range(2)])
    needed = steps_needed(FUNCTIONS["polar"], A, options)
    for steps in range(1, 1 + max(needed)):
        U = pc.polar(A, steps=steps, form="direct", **options)
        error = torch.linalg.matrix_norm(torch.eye(24) - U.mT @ U)
        assert [bool(e <= 1e-2) for e in error] == [steps >= own for own in needed]


def test_the_command_counts(one_thread, folders, capsys):
    for words in (["--quick"], ["--quick", "--size"]):
        main(words)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert sum(row[:2] == ["HTMP", "κ=100"] for row in rows) == 3
    assert sum("quintic" in row for row in rows) == 2 * len(MATRICES) + 3
    assert {path.name for path in (folders / "out").iterdir()} == {"paper.txt", "paper-size.txt"}
