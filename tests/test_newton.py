"""Newton's steps, with an inverse: against decompositions, on spectra of every kind."""

import mpmath
import pytest
import torch
from torch.func import vmap

import prism_compile as pc
from prism_compile._iteration.newton import newton_coefficient

from .matrices import (
    F64,
    alternating,
    eigh_power,
    gaussian,
    log_spaced,
    relative_error,
    spd,
    svd_polar,
    with_eigenvalues,
    with_singular_values,
)

EPS = torch.finfo(F64).eps
FUNCTIONS = {
    name: getattr(pc, name)
    for name in ("polar", "polar_factors", "signm", "sqrtm", "inv_sqrtm", "sqrtm_pair")
}
EACH = pytest.mark.parametrize("name", FUNCTIONS)
# All steps, the leading one, and some of them.
SHARES = pytest.mark.parametrize(("steps", "newton_steps"), [(9, 9), (12, 1), (10, 3)])


def sample(name: str, n: int = 8, condition: float = 20.0) -> torch.Tensor:
    """A square matrix for a function."""
    if name.startswith("polar"):
        return with_singular_values(log_spaced(n, condition), n, n)
    return with_eigenvalues(log_spaced(n, condition) * (alternating(n) if name == "signm" else 1))


def oracle(name: str, A: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """By the SVD, or by eigh for symmetric A."""
    A = A.to(F64)
    if name == "polar":
        return (svd_polar(A),)
    if name == "polar_factors":
        _, sigma, Vt = torch.linalg.svd(A)
        return svd_polar(A), (Vt.mT * sigma.unsqueeze(-2)) @ Vt
    if name == "signm":
        values, Q = torch.linalg.eigh(A)
        return ((Q * values.sign().unsqueeze(-2)) @ Q.mT,)
    roots = {"sqrtm": (0.5,), "inv_sqrtm": (-0.5,), "sqrtm_pair": (0.5, -0.5)}[name]
    return tuple(eigh_power(A, exponent) for exponent in roots)


def parts(result) -> tuple[torch.Tensor, ...]:
    return tuple(result) if isinstance(result, tuple) else (result,)


def errors(name: str, A: torch.Tensor, **options) -> list[float]:
    found = zip(parts(FUNCTIONS[name](A, **options)), oracle(name, A))
    return [relative_error(*pair) for pair in found]


# How far 40 digits say that eigh is off: at condition 1e12 it is no oracle in float64, where rounding A alone
# moves the result by up to 1e12 units of the last place.
def in_many_digits(A: torch.Tensor, function) -> torch.Tensor:
    with mpmath.workdps(40):
        values, Q = mpmath.eigsy(mpmath.matrix(A.tolist()))
        X = Q * mpmath.diag([function(value) for value in values]) * Q.T
        return torch.tensor([[float(x) for x in X[i, :]] for i in range(X.rows)], dtype=F64)


@pytest.mark.parametrize("steps", [7, 8])
def test_condition_1e12_to_1e_6_in_at_most_eight_steps(steps):
    options = {"steps": steps, "newton_steps": steps}
    A = spd(20, 1e12)
    root, inverse_root = pc.sqrtm_pair(A, **options)
    exact = in_many_digits(A, mpmath.sqrt), in_many_digits(A, lambda x: 1 / mpmath.sqrt(x))
    assert relative_error(root, exact[0]) < 1e-6
    assert relative_error(inverse_root, exact[1]) < 1e-6
    assert relative_error(pc.sqrtm(A, **options), exact[0]) < 1e-6
    assert relative_error(pc.inv_sqrtm(A, **options), exact[1]) < 1e-6
    A = with_eigenvalues(log_spaced(20, 1e12) * alternating(20))
    exact = in_many_digits(A, mpmath.sign)
    # The sign of a symmetric matrix is its polar factor.
    assert relative_error(pc.signm(A, **options), exact) < 1e-6
    assert relative_error(pc.polar(A, **options), exact) < 1e-6


def hilbert(n: int) -> torch.Tensor:
    i = torch.arange(n, dtype=F64)
    return 1 / (i[:, None] + i + 1)


def graded(n: int) -> torch.Tensor:
    scale = 10.0 ** -torch.linspace(0, 4, n, dtype=F64)
    return scale[:, None] * spd(n, 10.0) * scale


HARD = {
    "hilbert": hilbert(6),
    "graded": graded(10),
    "repeated": with_eigenvalues(torch.tensor([1.0] * 6 + [1e-6] * 5 + [1e-3], dtype=F64)),
    "identity": torch.eye(7, dtype=F64),
    "1x1": torch.tensor([[3.7]], dtype=F64),
    "outlier": with_eigenvalues(torch.tensor([1.0] * 11 + [1e-8], dtype=F64)),
    "spike": with_eigenvalues(torch.tensor([1.0] + [1e-8] * 11, dtype=F64)),
}


@EACH
@SHARES
@pytest.mark.parametrize("case", HARD)
def test_hard_matrices(name, case, steps, newton_steps):
    A = HARD[case]
    if newton_steps == 1 and (name.startswith("polar") or name == "signm"):
        steps = 16
    values = torch.linalg.eigvalsh(A)
    # eigh's own error is of this size.
    bar = 100 * EPS * (values.amax() / values.amin()).item()
    assert max(errors(name, A, steps=steps, newton_steps=newton_steps)) < bar


def test_scales_within_a_float32_matrix_do_not_overflow():
    values = torch.tensor([1.0, 1e-10, 1e-20, 1e-30])
    options = {"steps": 8, "newton_steps": 8}
    A = torch.diag(values)
    for result, exact in (
        (pc.polar(A, **options), torch.ones(4)),
        (pc.signm(-A, **options), -torch.ones(4)),
        (pc.sqrtm(A, **options), values.sqrt()),
        (pc.inv_sqrtm(A, **options), values.rsqrt()),
    ):
        torch.testing.assert_close(result.diagonal(), exact, rtol=1e-5, atol=0)


@EACH
def test_under_vmap(name):
    A = torch.stack([sample(name, 4, condition) for condition in (2.0, 9.0, 30.0, 5.0)])
    options = {"steps": 6, "newton_steps": 2}
    mapped = parts(vmap(lambda A: FUNCTIONS[name](A, **options))(A))
    for part, expected in zip(mapped, parts(FUNCTIONS[name](A, **options))):
        torch.testing.assert_close(part, expected, rtol=1e-12, atol=1e-12)


def test_sign_of_matrices_with_complex_eigenvalues_and_far_from_normal():
    A = gaussian(24, 24, seed=3)
    values, V = torch.linalg.eig(A)
    assert values.imag.abs().max() > 1
    exact = ((V * values.real.sign()) @ torch.linalg.inv(V)).real
    assert relative_error(pc.signm(A, newton_steps=10), exact) < 1e-10
    T = torch.triu(gaussian(24, 24, seed=5))
    T.diagonal().add_(T.diagonal().sign())
    S, history = pc.signm(T, steps=12, newton_steps=12, history=True)
    assert (S.diagonal() - T.diagonal().sign()).abs().max() < 1e-12
    assert relative_error(S @ T, T @ S) < 1e-11
    assert history.residual[-1] < 1e-11


@pytest.mark.parametrize("condition", [1.5, 1e3, 1e12])
def test_the_coefficient_is_the_quartics_minimiser(condition):
    """Of all in (0, 1] on a fine grid, for spectra on both sides of one."""
    x = torch.stack([log_spaced(30, condition), 2 * log_spaced(30, condition), 1 + log_spaced(30, condition)])
    M = torch.diag_embed(x * x)
    R, D = torch.eye(30, dtype=F64) - M, torch.diag_embed((1 - x * x) ** 2 / (x * x))
    nu = (1 / x**4).sum(-1).pow(0.25)[:, None, None]
    alpha = newton_coefficient(R, D / nu**2, nu)[:, 0]

    def loss(alpha):
        y = (1 - alpha[..., None]) * x[:, None] + alpha[..., None] / x[:, None]
        return (1 - y * y).square().sum(-1)

    least = loss(torch.logspace(-14, 0, 40000, dtype=F64).expand(3, -1)).amin(-1)
    assert (loss(alpha)[:, 0] <= least * (1 + 1e-9)).all()
    assert ((alpha > 0) & (alpha <= 1)).all()


def spectra():
    """Values from which a bad step would not recover."""
    for n in (1, 2, 3, 40):
        for exponent in (1, 6, 12, 24):
            least = 10.0**-exponent
            one = torch.ones(n, dtype=F64)
            yield log_spaced(n, 10.0**exponent)
            yield torch.cat((one[1:], one[:1] * least))
            yield torch.cat((one[:1], one[1:] * least))
            yield torch.where(torch.arange(n) < n // 2, 1.0, least).to(F64)
            yield torch.cat((one[: n // 3], one[n // 3 :] * least**0.5, one[:1] * least))
            yield (1 / torch.arange(1, n + 1, dtype=F64) ** exponent).clamp(min=1e-24)


RULES = ["adaptive", "prism", "taylor", "polar_express"]


@pytest.mark.parametrize("rule", RULES)
def test_every_spectrum_converges_and_stays_converged(rule):
    """Of diagonal matrices, whose values x go down to 1e-12 and are known to the end."""
    for values in spectra():
        A = torch.diag(values.sqrt())

        def left(steps: int, newton_steps: int, A=A) -> float:
            U = pc.polar(A, steps=steps, newton_steps=newton_steps, rule=rule)
            return (U.diagonal() - 1).abs().max().item()

        if rule == "prism":
            # Of all steps the coefficients are Newton's.
            assert left(8, 8) < 1e-12
        # Three polynomials bring what six steps leave, and themselves, to rounding; that table slower.
        assert left(9, 6) < (1e-8 if rule == "polar_express" else 1e-12)
        # However many follow, and what is at one by then is not lifted above it.
        assert left(30, 3) < 1e-12


@pytest.mark.parametrize("newton_steps", [1, 2, 3, 6])
@pytest.mark.parametrize("steps", [8, 14, 22, 30])
def test_tables_after_them_hold_what_has_converged(steps, newton_steps):
    """A bound on the values that rounding left too low gave NaN: a table multiplies by ten what is above."""
    for values in (HARD["spike"], HARD["outlier"], HARD["repeated"], HARD["identity"]):
        # Of eigenvalues down to 1e-8 the roots: what rounding may do is 1e4 ε.
        A = with_eigenvalues(torch.linalg.eigvalsh(values).sqrt())
        for rule in ("adaptive", "minimax"):
            _, history = pc.polar(A, steps=steps, newton_steps=newton_steps, rule=rule, history=True)
            expected = pc.polar(A, steps=steps, newton_steps=newton_steps, rule="prism", history=True)[1]
            assert history.residual[-1] <= 3 * expected.residual[-1] + 1e-12


@EACH
def test_history(name):
    A = sample(name)
    result, history = FUNCTIONS[name](A, steps=5, newton_steps=2, history=True)
    assert history.residual.shape == (6,)
    assert history.coefficient.shape == (5,)
    for part, other in zip(parts(result), parts(FUNCTIONS[name](A, steps=5, newton_steps=2))):
        torch.testing.assert_close(part, other, rtol=1e-12, atol=1e-12)
    shorter, before = FUNCTIONS[name](A, steps=2, newton_steps=2, history=True)
    torch.testing.assert_close(history.coefficient[:2], before.coefficient)
    torch.testing.assert_close(history.residual[:2], before.residual[:2])
    # The mean of x² - 1 after the steps, from the result itself.
    if name in ("polar", "signm"):
        left = shorter @ (shorter.mT if name == "polar" else shorter) - torch.eye(8, dtype=F64)
        torch.testing.assert_close(before.residual[-1], left.norm() / 8**0.5)


def test_residuals_are_of_the_matrix_whose_root_is_taken():
    values = log_spaced(20, 1e4)
    _, history = pc.sqrtm(with_eigenvalues(values), steps=3, newton_steps=3, history=True)
    x = (values / values.norm()).sqrt()
    for residual, alpha in zip(history.residual, history.coefficient):
        torch.testing.assert_close(residual, (1 - x * x).square().mean().sqrt(), rtol=1e-6, atol=0)
        x = (1 - alpha) * x + alpha / x
    last = ((1 - x * x) * values).norm() / values.norm()
    torch.testing.assert_close(history.residual[-1], last, rtol=1e-6, atol=0)


@EACH
def test_none_is_the_default(name):
    A = sample(name)
    results = parts(FUNCTIONS[name](A, newton_steps=0)), parts(FUNCTIONS[name](A))
    assert all(map(torch.equal, *results))


@EACH
def test_refusals(name):
    A = sample(name)
    with pytest.raises(ValueError, match="newton_steps must be ≥ 0, got -1"):
        FUNCTIONS[name](A, newton_steps=-1)
    with pytest.raises(ValueError, match="newton_steps must be ≤ steps = 3, got 4"):
        FUNCTIONS[name](A, steps=3, newton_steps=4)
    with pytest.raises(TypeError, match=r"newton_steps must be an int ≥ 0, got 1\.0 of type float"):
        FUNCTIONS[name](A, newton_steps=1.0)
    if name.startswith("polar"):
        refused = r"newton_steps must be 0 for a matrix that is not square, got 1 for A of shape \(8, 5\)"
        with pytest.raises(ValueError, match=refused):
            FUNCTIONS[name](A[:, :5], newton_steps=1)


def test_functions_without_them_say_so():
    for call in (pc.inv, lambda A, **options: pc.inv_root(A, 4, **options)):
        with pytest.raises(TypeError, match="newton_steps"):
            call(torch.eye(3), newton_steps=1)
