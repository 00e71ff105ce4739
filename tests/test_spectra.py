"""tools/spectra: matrices have the spectra they claim, CANS its coefficients; the table and the command."""

import numpy
import pytest
import torch

from prism_compile._rules import RULES


def evaluated(quintics, x):
    for a, b, c in quintics:
        x = a * x + b * x**3 + c * x**5
    return x


def test_matrices_have_the_spectra_they_claim():
    from studies.spectra.suite import SPECTRA, suite

    n = 40
    matrices = suite(n, seed=3, training_steps=0)
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
    again, other = suite.__wrapped__(n, 3, 0), suite(n, seed=4, training_steps=0)
    assert torch.equal(again["Gaussian"]["Gaussian 2:1"], matrices["Gaussian"]["Gaussian 2:1"])
    assert not torch.equal(other["clusters"]["three levels"], matrices["clusters"]["three levels"])


@pytest.mark.parametrize("lower", [1e-4, 0.03, 0.5])
def test_a_minimax_quintic_alternates(lower):
    from studies.common.cans import minimax_quintic

    quintic, deviation = minimax_quintic(lower, 1.0)
    x = numpy.linspace(lower, 1.0, 200_001)
    error = 1 - evaluated([quintic], x)
    # Four alternations for three coefficients: the sign of a best approximation (Chebyshev). A parabola's
    # top lies within 1e-9 between points so close.
    turns = [0, *(numpy.flatnonzero(numpy.diff(numpy.sign(numpy.diff(error)))) + 1), len(x) - 1]
    numpy.testing.assert_allclose(error[turns], deviation * numpy.array([1, -1, 1, -1]), atol=1e-8)


@pytest.mark.parametrize("steps", [1, 3, 5, 8])
def test_cans_ends_at_its_deviation(steps):
    from studies.common.cans import cans_quintics

    quintics, lower = cans_quintics(steps, delta=0.3, margin=1.0)
    assert len(quintics) == steps
    # The composed polynomial turns ever more often towards lower, hence points spaced in the logarithm.
    deviation = numpy.abs(1 - evaluated(quintics, numpy.geomspace(lower, 1.0, 400_001)))
    numpy.testing.assert_allclose(deviation.max(), 0.3, atol=1e-6)
    # A lower end any smaller would not do.
    assert 1 - evaluated(quintics, lower * 0.999) > 0.3


def test_cushioned_quintics_are_the_published_polar_express():
    """Its published procedure: best on [max(l, 0.024 u), u], recentred for [l, u]; l = 1e-3, u = 1."""
    from studies.common.cans import minimax_quintic

    lower, upper, cushion, safety = 1e-3, 1.0, 0.02407327424182761, 1.01
    for row in RULES["polar_express"].table[:7]:
        quintic = numpy.array(minimax_quintic(max(lower, cushion * upper), upper)[0])
        quintic *= 2 / (evaluated([quintic], lower) + evaluated([quintic], upper))
        published = numpy.array(row) * safety ** numpy.array([1, 3, 5])
        # A quintic so near the classical one as the last is known to the root of the rounding error.
        numpy.testing.assert_allclose(quintic, published, rtol=1e-7)
        lower = evaluated([quintic], lower)
        upper = 2 - lower


def test_cans_applies_its_polynomials():
    from studies.common.cans import cans, cans_quintics

    A = torch.randn(2, 20, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    W, sigma, Vh = torch.linalg.svd(A, full_matrices=False)
    x = evaluated(cans_quintics(5)[0], sigma / torch.linalg.vector_norm(sigma, 8, -1, True))
    # Five steps of slope at most 8.5 and 4.3 carry rounding up by less than 1e4.
    for B, exact in ((A, (W * x[:, None]) @ Vh), (A.mT, ((W * x[:, None]) @ Vh).mT)):
        torch.testing.assert_close(cans(B, 5), exact, atol=1e-11, rtol=0)


def test_the_table_marks_the_best_and_the_bar_lists_misses():
    from studies.spectra.measure import Figure
    from studies.spectra.tables import misses, steps_table

    errors = {"prism": (0.104, 0.5), "polar_express": (0.1, 0.6), "CANS": (0.3, 0.4), "taylor": (0.01, 0.7)}
    results = {
        method: {5: {"one": Figure(one, 1.0), "two": Figure(two, 1.25)}}
        for method, (one, two) in errors.items()
    }
    lines = steps_table(results, {"both": ["one", "two"]}, 5, rows_too=True).splitlines()
    starred = {line.split()[-5]: line for line in lines if "*" in line and "mean" not in line}
    assert "0.0100*" in starred["one"]
    assert "0.400*" in starred["two"]
    assert starred["one"].count("*") == starred["two"].count("*") == 1
    # 0.104 ≤ 1.02 · 0.1 + 0.002, though taylor's, no baseline, is far below; 0.5 > 1.02 · 0.4 + 0.002.
    (line,) = misses(results, "prism", 5)
    assert line.split() == ["K=5", "two", "prism", "0.500", "CANS", "0.400"]


@pytest.mark.parametrize("function", ["signm", "sqrtm", "inv_sqrtm"])
def test_errors_of_other_functions_vanish_with_steps(one_thread, function):
    from studies.spectra.measure import rule_errors

    errors = rule_errors("taylor", steps=[3, 16], n=16, function=function, training_steps=0)
    assert errors[3]["half at 0.1"] > 1e-2
    # Condition 10, or 100 squared: single precision with a wide margin for the iteration's own rounding.
    assert errors[16]["half at 0.1"] < 1e-4


def test_the_command_runs(one_thread, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the extra `demo` is not installed")
    from studies.common import results
    from studies.spectra import __main__ as spectra_main

    monkeypatch.setattr(results, "OUT", tmp_path)
    spectra_main.main(["--n", "12", "--k", "2", "3", "--training-steps", "1", "--rule", "prism"])
    printed = capsys.readouterr().out
    assert "K = 3 steps" in printed
    assert "mlp.down 1" in printed
    assert "Means over" in printed
    assert (tmp_path / "spectra.png").read_bytes().startswith(b"\x89PNG")


def spectrum(n: int) -> torch.Tensor:
    """Not evenly spaced, and short enough for two steps to matter."""
    return torch.tensor(numpy.geomspace(1, 0.02, n) ** numpy.linspace(1, 0.8, n))


def test_the_limit_of_one_step_is_linear_least_squares(one_thread):
    from studies.spectra.limit import limit

    for values in (spectrum(24), 7 * spectrum(24), torch.linspace(1, 0.5, 9, dtype=torch.float64)):
        x = values.numpy() / values.numpy().max()
        matrix = numpy.stack([x, x**3, x**5], axis=1)
        solved = numpy.linalg.lstsq(matrix, numpy.ones(len(x)), rcond=None)[0]
        expected = numpy.sqrt(numpy.mean((1 - matrix @ solved) ** 2))
        assert limit(values, 1, copies=1, rounds=1) == pytest.approx(expected, abs=1e-8)


def test_no_rule_is_below_the_limit(one_thread):
    from studies.common.oracles import orthogonality_error
    from studies.spectra.limit import limit
    from studies.spectra.measure import methods

    values = spectrum(24)
    least = limit(values, 2, copies=1, rounds=1)
    assert least == limit(values, 2, copies=1, rounds=1)
    errors = {name: orthogonality_error(run(values.diag()[None], 2, 0)) for name, run in methods().items()}
    assert 0 < least <= min(errors.values()), errors


@pytest.mark.parametrize("rule", ["adaptive", "prism", "polar_express"])
def test_the_search_starts_at_what_a_rule_does(rule):
    from prism_compile import polar
    from studies.spectra.limit import chosen_quintics

    values = spectrum(24)
    # A sketch of as many rows as columns is still random: only Polar Express is the same to rounding.
    tolerance = 1e-10 if rule == "polar_express" else 2e-2
    reached = polar(values.diag(), steps=3, rule=rule, sketch_size=24).diagonal()
    quintics = chosen_quintics(values, rule, 3).tolist()
    torch.testing.assert_close(evaluated(quintics, values), reached, atol=tolerance, rtol=0)


def test_the_jacobian_of_a_composition(one_thread):
    from studies.spectra.limit import composed

    generator = torch.Generator().manual_seed(0)
    coefficients = torch.randn(2, 9, dtype=torch.float64, generator=generator)
    values = spectrum(5)
    _, jacobian = composed(coefficients, values)
    exact = torch.autograd.functional.jacobian(lambda c: composed(c, values)[0].sum(0), coefficients)
    torch.testing.assert_close(jacobian, exact.movedim(1, 0))


def test_the_command_prints_the_limit_alone(one_thread, monkeypatch, tmp_path, capsys):
    from studies.common import results
    from studies.spectra import __main__ as spectra_main
    from studies.spectra import limit_table

    monkeypatch.setattr(results, "OUT", tmp_path)
    monkeypatch.setattr(limit_table, "limit", lambda values, steps: 0.25)
    spectra_main.main(["--limit", "--n", "12", "--k", "2"])
    printed = capsys.readouterr().out
    assert "K = 2 steps" in printed
    assert "adaptive / limit: Gaussian 1:1 " in printed
    assert "taylor" not in printed
    row = next(line for line in printed.splitlines() if line.startswith("half at 0.1"))
    assert row.split()[3] == "0.250"
    with pytest.raises(SystemExit):
        spectra_main.main(["--limit", "--function", "sqrtm"])
