"""tools/tune: what it tunes on, what it minimises, and the file that it writes."""

import numpy
import pytest
import torch

from prism_compile._rules import RULES
from prism_compile._rules.adaptive.fitted import FITTED

pytestmark = pytest.mark.usefixtures("one_thread")
POLAR = ("hidden", "short")


def test_training_spectra_fall_from_one_and_are_the_same_again():
    from studies.tune.spectra import FAMILIES, training_spectra

    spectra = training_spectra(members=3, n=20, seed=1)
    assert spectra.shape == (3 * len(FAMILIES), 20)
    assert spectra.dtype == numpy.float64
    assert (spectra[:, 0] == 1).all()
    assert (numpy.diff(spectra) <= 0).all()
    assert (spectra > 0).all()
    assert numpy.array_equal(training_spectra(3, 20, 1), spectra)
    assert not numpy.array_equal(training_spectra(3, 20, 2), spectra)
    # All members differ.
    assert len(numpy.unique(spectra, axis=0)) == len(spectra)


def test_no_training_spectrum_is_a_reported_one():
    from studies.spectra.suite import suite
    from studies.tune.spectra import low_rank_spectra, training_spectra

    n = 64
    drawn = [training_spectra(4, n, seed=0), low_rank_spectra(16, n, seed=0)[0]]
    reported = [A for made in suite(n, 0, training_steps=0).values() for A in made.values()]
    values = torch.stack([torch.linalg.svdvals(A) for A in reported])
    # The suite's are decomposed, to 1e-13 or so of the largest.
    apart = torch.cdist(torch.from_numpy(numpy.concatenate(drawn)), values / values[:, :1], p=float("inf"))
    assert apart.min() > 1e-4


def test_low_rank_spectra_have_their_rank_and_condition():
    from studies.tune.spectra import CONDITION, low_rank_spectra

    spectra, ranks = low_rank_spectra(40, 24, seed=3)
    assert ((spectra > 0).sum(-1) == ranks).all()
    assert ranks.min() >= 1
    assert ranks.max() < 24
    assert (spectra[:, 0] == 1).all()
    assert (numpy.diff(spectra) <= 0).all()
    assert spectra[spectra > 0].min() >= 1 / CONDITION


def test_eigenvalues_have_their_conditions():
    from studies.tune.spectra import FAMILIES, matrices, positive_spectra

    spectra, conditions = positive_spectra(3, 24, seed=3)
    assert conditions.shape == (3 * len(FAMILIES),)
    assert set(conditions) == {1e1, 1e2, 1e3, 1e4, 1e5, 1e6}
    numpy.testing.assert_allclose(spectra[:, 0] / spectra[:, -1], conditions, rtol=1e-12)
    A, left, right = matrices(spectra, symmetric=True, seed=0)
    assert left is right
    numpy.testing.assert_allclose(numpy.linalg.eigvalsh(A)[:, ::-1], spectra, atol=1e-13)


def test_errors_are_those_of_the_library():
    import prism_compile as pc
    from studies.tune.objective import PolarObjective

    objective = PolarObjective(members=1, low_rank=6, n=16)
    U = pc.polar(objective.A, steps=5, rule="prism", form="direct")
    expected = (1 - torch.linalg.svdvals(U)).square().mean(-1).sqrt().double()
    torch.testing.assert_close(objective.errors(RULES["prism"], 5), expected, rtol=1e-4, atol=1e-6)
    # Twenty classical steps bring all that is at least 1/30 to one, up to rounding.
    assert objective.low_rank_errors(RULES["taylor"], 20).max() < 1e-4


def test_the_polar_objective_sees_numbers_that_are_far_off():
    from prism_compile._rules.adaptive import rule
    from studies.tune.objective import PolarObjective

    kept = rule.scores
    objective = PolarObjective(members=2, low_rank=16, n=32)
    value = objective(FITTED)
    assert numpy.isfinite(value)
    assert objective(FITTED) == value
    far = {name: 50 * getattr(FITTED, name) for name in POLAR}
    assert objective(FITTED._replace(**far)) > 1.02 * value
    assert objective(FITTED._replace(hidden=far["hidden"])) > value
    # The reference beside itself alone misses nothing: 0.6 + 0.4.
    assert objective._of_errors(objective.peers[5][0], objective.peers[5][:1]).item() == pytest.approx(1.0)
    assert rule.scores is kept


def test_the_root_objective_sees_numbers_that_are_far_off():
    from studies.tune.objective import RootObjective

    objective = RootObjective(members=1, n=24)
    value = objective(FITTED)
    # Less than the rule "prism" has.
    assert 0 < value < 1
    assert objective(FITTED._replace(slope=50 * FITTED.slope)) > value
    assert objective(FITTED._replace(focus=FITTED.focus / 50)) > value


def test_the_written_file_has_the_numbers():
    from studies.tune.__main__ import FILE, file_text

    fitted = FITTED._replace(hidden=1.23e-05, slope=125.0)
    text = file_text(fitted, "tools/tune --iterations 3")
    assert text.startswith("# Made by `tools/tune --iterations 3`; do not edit.\n")
    written: dict = {"__name__": type(FITTED).__module__}
    exec(compile(text, "fitted.py", "exec"), written)
    assert written["FITTED"] == fitted
    assert written["Fitted"]._fields == type(FITTED)._fields
    # The present file is the command's, but for its first line.
    assert FILE.read_text().split("\n", 1)[1] == file_text(FITTED, "").split("\n", 1)[1]


def test_differences_are_told():
    from studies.tune.__main__ import differences

    assert differences(FITTED, FITTED) == []
    (line,) = differences(FITTED._replace(short=2 * FITTED.short), FITTED)
    assert line.split()[0] == "short:"


def test_a_search_finds_a_minimum():
    pytest.importorskip("cma", reason="the extra `tune` is not installed")
    from studies.tune.__main__ import START, rounded, search

    def objective(fitted):
        return abs(numpy.log10(fitted.focus / 0.3)) + abs(numpy.log10(fitted.slope / 0.002))

    found = search(objective, START, ("focus", "slope"), iterations=30, seed=0, label="test")
    assert found.focus == pytest.approx(0.3, rel=0.1)
    assert found.slope == pytest.approx(0.002, rel=0.1)
    assert found == search(objective, START, ("focus", "slope"), iterations=30, seed=0, label="test")
    assert found[:2] == START[:2]
    assert all(value == rounded(value) for value in found)


def test_the_command_writes_and_checks(monkeypatch, tmp_path, capsys):
    pytest.importorskip("cma", reason="the extra `tune` is not installed")
    from studies.common import results
    from studies.tune import __main__ as tune_main
    from studies.tune.objective import PolarObjective, RootObjective

    def small_polar(seed):
        return PolarObjective(members=1, low_rank=4, n=8, seed=seed)

    def small_roots(seed):
        return RootObjective(members=1, n=8, seed=seed)

    monkeypatch.setattr(results, "OUT", tmp_path)
    monkeypatch.setattr(tune_main, "FILE", tmp_path / "fitted.py")
    monkeypatch.setattr(tune_main, "PolarObjective", small_polar)
    monkeypatch.setattr(tune_main, "RootObjective", small_roots)
    assert tune_main.main(["--iterations", "1"]) == 0
    text = (tmp_path / "fitted.py").read_text()
    written: dict = {"__name__": type(FITTED).__module__}
    exec(compile(text, "fitted.py", "exec"), written)
    fitted = type(FITTED)(*written["FITTED"])
    for objective in (small_polar(0), small_roots(0)):
        assert objective(fitted) < objective(tune_main.PLAIN)
    monkeypatch.setattr(tune_main, "FITTED", fitted)
    assert tune_main.main(["--iterations", "1", "--check"]) == 0
    monkeypatch.setattr(tune_main, "FITTED", fitted._replace(hidden=3 * fitted.hidden))
    assert tune_main.main(["--iterations", "1", "--check"]) == 1
    assert (tmp_path / "fitted.py").read_text() == text
    assert "found again" in capsys.readouterr().out
