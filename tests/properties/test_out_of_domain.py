"""What has no answer shows: in a residual that does not vanish, or in numbers that are not finite."""

import pytest
import torch

from ..matrices import F64, log_spaced, with_eigenvalues, with_singular_values
from .cases import WAYS, run, serves

POLYNOMIAL = [way for way in WAYS if serves("sqrtm", way) and not way.startswith("Newton")]


@pytest.mark.parametrize("way", POLYNOMIAL)
def test_the_sign_of_a_singular_matrix(way):
    values = torch.tensor([1.0, -0.5, 0.0, 0.7], dtype=F64)
    _, history = run("signm", way, with_eigenvalues(values), steps=10, history=True)
    # One value of four is 1 from one, but for what rounding made of it.
    assert history.residual[-1] > 0.45


@pytest.mark.parametrize("way", [way for way in WAYS if serves("inv", way)])
@pytest.mark.parametrize("name", ["inv", "inv_root 1", "inv_root 4"])
def test_the_inverse_of_a_singular_matrix(name, way):
    values = torch.cat([log_spaced(6, 10.0), torch.zeros(2, dtype=F64)])
    A = with_singular_values(values, 8, 8) if name == "inv" else with_eigenvalues(values)
    X, history = run(name, way, A, steps=20, history=True)
    assert not X.isfinite().all() or not history.residual[-1] < 0.4


@pytest.mark.parametrize("name", ["polar", "signm", "sqrtm", "inv_sqrtm"])
@pytest.mark.parametrize("newton_steps", [1, 4])
def test_a_singular_matrix_under_newtons_steps_is_nan_and_alone(name, newton_steps):
    good = with_eigenvalues(log_spaced(6, 20.0))
    singular = good.clone()
    singular[2], singular[:, 2] = 0, 0
    options = {"steps": 4, "newton_steps": newton_steps}
    result = run(name, "Newton", torch.stack([good, singular, good]), **options)
    assert torch.equal(result[[0, 2]], run(name, "Newton", torch.stack([good, good]), **options))
    assert result[1].isnan().any()
    _, history = run(name, "Newton", singular, **options, history=True)
    assert not history.residual[-1].isfinite()


@pytest.mark.parametrize("way", POLYNOMIAL)
@pytest.mark.parametrize("low", [-1e-3, -0.1, -1.0])
def test_roots_of_indefinite_matrices_are_never_plausible(low, way):
    values = torch.cat([log_spaced(19, 100.0), torch.tensor([low], dtype=F64)])
    A = with_eigenvalues(values)
    for name in ("sqrtm", "inv_sqrtm", "inv_root 3", "inv_root 4"):
        for steps in (3, 6, 10, 20, 40) if serves(name, way) else ():
            result, history = run(name, way, A, steps=steps, history=True)
            # S² has no negative eigenvalue: what it misses of A is that one at least.
            least = -0.9 * low / values.norm() if name == "sqrtm" else 0.2
            assert not result.isfinite().all() or not history.residual[-1] < least
