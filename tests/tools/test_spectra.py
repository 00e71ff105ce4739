"""tools/spectra: matrices and coefficients are what they claim; the limit, the trust table, the command."""

from functools import partial

import numpy
import pytest
import torch

from studies.common import peers
from studies.common.matrices import orthogonality_error
from studies.common.peers import cans, cans_quintics, minimax_quintic
from studies.spectra import limit as limits
from studies.spectra.__main__ import main
from studies.spectra.compare import METHODS, misses, steps_table
from studies.spectra.limit import limit
from studies.spectra.suite import SPECTRA, suite
from studies.spectra.trust.cases import (
    FUNCTIONS,
    Spectrum,
    case,
    case_of,
    cases,
    one_tiny,
    spectra,
)
from studies.spectra.trust.compare import Result

from ..matrices import gaussian


def evaluated(quintics, x):
    for a, b, c in quintics:
        x = a * x + b * x**3 + c * x**5
    return x


def test_matrices_have_the_spectra_they_claim():
    n = 40
    matrices = suite(n, training_steps=0)
    expected = {
        ("log-spaced", "log-spaced to 1e-2.7"): numpy.logspace(0, -2.7, n),
        ("power law", "power law 0.6"): numpy.arange(1, n + 1) ** -0.6,
        ("clusters", "half at 0.1"): [1.0] * 20 + [0.1] * 20,
        ("spikes", "1 × 300 on flat"): [300.0] + [1.0] * 39,
    }
    for (family, name), values in expected.items():
        # A matrix with these values is made and decomposed in float64.
        values = torch.tensor(numpy.array(values))
        tolerance = 1e-13 * values[0].item()
        torch.testing.assert_close(
            torch.linalg.svdvals(matrices[family][name]), values, atol=tolerance, rtol=0
        )
    assert {family: list(made) for family, made in matrices.items()} == {
        f: list(b) for f, b in SPECTRA.items()
    }
    names = [name for made in matrices.values() for name in made]
    assert len(names) == len(set(names)) > 50
    for made in matrices.values():
        for name, A in made.items():
            assert A.dtype == torch.float64, name
            assert A.shape[1] == n, name
            assert torch.linalg.svdvals(A)[-1] > 0, name
    again = suite.__wrapped__(n, 0)
    assert torch.equal(again["Gaussian"]["Gaussian 2:1"], matrices["Gaussian"]["Gaussian 2:1"])


@pytest.mark.parametrize("lower", [1e-4, 0.03, 0.5])
def test_a_minimax_quintic_alternates(lower):
    quintic, deviation = minimax_quintic(lower, 1.0)
    x = numpy.linspace(lower, 1.0, 200_001)
    error = 1 - evaluated([quintic], x)
    # Four alternations for three coefficients: the sign of a best approximation (Chebyshev). A parabola's
    # top lies within 1e-9 between points so close.
    turns = [0, *(numpy.flatnonzero(numpy.diff(numpy.sign(numpy.diff(error)))) + 1), len(x) - 1]
    numpy.testing.assert_allclose(error[turns], deviation * numpy.array([1, -1, 1, -1]), atol=1e-8)


@pytest.mark.parametrize("steps", [1, 3, 5, 8])
def test_cans_ends_at_its_deviation(steps):
    quintics, lower = cans_quintics(steps, delta=0.3, margin=1.0)
    assert len(quintics) == steps
    # The composed polynomial turns ever more often towards lower, hence points spaced in the logarithm.
    deviation = numpy.abs(1 - evaluated(quintics, numpy.geomspace(lower, 1.0, 400_001)))
    numpy.testing.assert_allclose(deviation.max(), 0.3, atol=1e-6)
    # A lower end any smaller would not do.
    assert 1 - evaluated(quintics, lower * 0.999) > 0.3


def test_cushioned_quintics_are_the_published_polar_express():
    """Its published procedure: best on [max(l, 0.024 u), u], recentred for [l, u]; l = 1e-3, u = 1."""
    lower, upper, cushion, safety = 1e-3, 1.0, 0.02407327424182761, 1.01
    for row in peers.TABLES["Polar Express"][0][:7]:
        quintic = numpy.array(minimax_quintic(max(lower, cushion * upper), upper)[0])
        quintic *= 2 / (evaluated([quintic], lower) + evaluated([quintic], upper))
        published = numpy.array(row) * safety ** numpy.array([1, 3, 5])
        # A quintic so near the classical one as the last is known to the root of the rounding error.
        numpy.testing.assert_allclose(quintic, published, rtol=1e-7)
        lower = evaluated([quintic], lower)
        upper = 2 - lower


def test_cans_applies_its_polynomials():
    A = gaussian(2, 20, 30)
    W, sigma, Vh = torch.linalg.svd(A, full_matrices=False)
    x = evaluated(cans_quintics(5)[0], sigma / torch.linalg.vector_norm(sigma, 8, -1, True))
    # Five steps of slope at most 8.5 and 4.3 carry rounding up by less than 1e4.
    for B, exact in ((A, (W * x[:, None]) @ Vh), (A.mT, ((W * x[:, None]) @ Vh).mT)):
        torch.testing.assert_close(cans(B, 5), exact, atol=1e-11, rtol=0)


def test_the_table_marks_the_best_and_the_bar_lists_misses():
    errors = {"prism": (0.104, 0.5), "polar_express": (0.1, 0.6), "CANS": (0.3, 0.4), "taylor": (0.01, 0.7)}
    results = {method: {5: {"one": one, "two": two}} for method, (one, two) in errors.items()}
    lines = steps_table(results, {"both": ["one", "two"]}, 5).splitlines()
    starred = {line.split()[-5]: line for line in lines if "*" in line and "mean" not in line}
    assert "0.0100*" in starred["one"]
    assert "0.400*" in starred["two"]
    assert starred["one"].count("*") == starred["two"].count("*") == 1
    # 0.104 ≤ 1.02 · 0.1 + 0.002, though taylor's, no baseline, is far below; 0.5 > 1.02 · 0.4 + 0.002.
    (line,) = misses(results, "prism", 5)
    assert line.split() == ["K=5", "two", "prism", "0.500", "CANS", "0.400"]


def test_the_command_compares(one_thread, folders, capsys):
    main(["--quick", "--rule", "prism"])
    printed = capsys.readouterr().out
    assert "K = 2 steps" in printed
    assert "lognormal rows, columns" in printed
    assert "Means over 59 spectra" in printed
    assert (folders / "out" / "spectra.txt").exists()


def spectrum(n: int) -> torch.Tensor:
    """Not evenly spaced, and short enough for two steps to matter."""
    return torch.tensor(numpy.geomspace(1, 0.02, n) ** numpy.linspace(1, 0.8, n))


def test_the_limit_of_one_step_is_linear_least_squares(one_thread):
    for values in (spectrum(24), 7 * spectrum(24), torch.linspace(1, 0.5, 9, dtype=torch.float64)):
        x = values.numpy() / values.numpy().max()
        matrix = numpy.stack([x, x**3, x**5], axis=1)
        solved = numpy.linalg.lstsq(matrix, numpy.ones(len(x)), rcond=None)[0]
        expected = numpy.sqrt(numpy.mean((1 - matrix @ solved) ** 2))
        assert limit(values, 1, copies=1, rounds=1) == pytest.approx(expected, abs=1e-8)


def test_no_rule_is_below_the_limit(one_thread):
    values = spectrum(24)
    least = limit(values, 2, copies=1, rounds=1)
    assert least == limit(values, 2, copies=1, rounds=1)
    errors = {name: orthogonality_error(run(values.diag()[None], steps=2)) for name, run in METHODS.items()}
    assert 0 < least <= min(errors.values()), errors


def test_the_command_prints_the_limit_alone(one_thread, monkeypatch, folders, capsys):
    monkeypatch.setattr(limits, "limit", lambda values, steps: 0.25)
    main(["--limit", "--quick"])
    printed = capsys.readouterr().out
    assert "K = 2 steps" in printed
    assert "taylor" not in printed
    row = next(line for line in printed.splitlines() if line.startswith("half at 0.1"))
    assert row.split()[3] == "0.250"


def perturbed(function, A, exact, scale: float) -> float:
    """The change of the exact result over that of A, relative, the largest of some random changes of A."""
    found = []
    for seed in range(20):
        E = gaussian(*A.shape, seed=seed)
        E = E if function.kind == "general" else E + E.mT
        E *= scale * A.norm() / E.norm()
        found.append(((case_of(function, A + E, len(A)).exact - exact).norm() / exact.norm() / scale).item())
    return max(found)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_condition_of_a_function_bounds_what_a_change_does(name):
    function = FUNCTIONS[name]
    tried = case(function, Spectrum(one_tiny(8, 0.1), 8), torch.float64)
    found = perturbed(function, tried.A, tried.exact, 1e-6)
    # The worst of all changes is bounded; a random one of an 8² matrix has a fair part of it.
    assert found <= tried.condition * 1.01
    # Of the sign nothing changes but what is between eigenvalues of either sign; and 1 is the least there is.
    assert found >= tried.condition / 30 or tried.condition == 1


def test_results_are_judged_by_the_rival_and_by_rounding():
    made = partial(Result, "polar", "float64", "flat", rival="prism")
    assert made(10, error=3.2e-6, best=1e-6, allowance=1e-7).above
    assert not made(10, error=3.2e-6, best=1e-6, allowance=3e-7).above
    assert made(10, error=float("inf"), best=0.1, allowance=0.1).above
    # What the precision cannot hold, and where no rival has a result.
    assert not made(10, error=float("inf"), best=0.1, allowance=2.0).above
    assert not made(10, error=float("inf"), best=1.0, allowance=0.1).above


def test_the_trust_spectra_are_forty_and_what_they_say():
    assert len(spectra(32)) == 40
    low = cases("polar", 32, torch.float32)["rank 4 to 30"]
    assert torch.linalg.matrix_rank(low.exact) == torch.linalg.matrix_rank(low.rows) == 4
    # Only the row space counts.
    assert low.error(low.exact.float() + torch.eye(32) - low.rows.float()) < 1e-6
    assert low.error(low.exact.float() * 1.5) == pytest.approx(0.5, abs=1e-6)


def test_the_command_prints_the_trust_table(one_thread, folders, capsys):
    main(["--trust", "--quick"])
    printed = capsys.readouterr().out
    assert "above:" in printed
    assert "polar of low rank" in printed
    assert (folders / "out" / "spectra-trust.txt").exists()
