"""sqrtm, inv_sqrtm, sqrtm_pair and inv_root against eigh in float64."""

import pytest
import torch

from prism_compile import inv_root, inv_sqrtm, sqrtm, sqrtm_pair, steps_for

from .matrices import F64, eigh_power, gaussian, log_spaced, relative_error, spd, with_eigenvalues

# Relative errors of (sqrt, inverse sqrt) for log-spaced eigenvalues at n = 200, by dtype and condition: the
# forward error of a backward stable method is about eps·√κ for the root and eps·κ for its inverse. The bar
# is five times the figures measured for this iteration.
EXPECTED = {
    (torch.float64, 1e2): (2e-15, 3e-15),
    (torch.float64, 1e4): (1e-14, 1e-13),
    (torch.float64, 1e6): (8e-14, 9e-12),
    (torch.float32, 1e2): (6e-7, 1e-6),
    (torch.float32, 1e4): (4e-6, 6e-5),
    (torch.float32, 1e6): (3e-5, 4e-3),
}


@pytest.mark.parametrize("n", [2, 30, 200])
@pytest.mark.parametrize(("dtype", "condition"), EXPECTED)
def test_square_roots_match_eigh(n, dtype, condition):
    A = spd(n, condition, seed=n)
    pair = sqrtm_pair(A.to(dtype), steps=14)
    root_bar, inverse_bar = (5 * x for x in EXPECTED[dtype, condition])
    assert relative_error(pair.sqrt, eigh_power(A, 0.5)) < root_bar
    assert relative_error(pair.inv_sqrt, eigh_power(A, -0.5)) < inverse_bar


def test_square_roots_at_500():
    A = spd(500, 1e4)
    pair = sqrtm_pair(A.float(), steps=10)
    assert relative_error(pair.sqrt, eigh_power(A, 0.5)) < 2e-5
    assert relative_error(pair.inv_sqrt, eigh_power(A, -0.5)) < 3e-4


def test_single_roots_equal_the_pair():
    A = spd(20, 100.0)
    pair = sqrtm_pair(A)
    assert torch.equal(sqrtm(A), pair.sqrt)
    assert torch.equal(inv_sqrtm(A), pair.inv_sqrt)
    assert torch.equal(sqrtm(A, steps=1), sqrtm_pair(A, steps=1).sqrt)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("p", [1, 2, 3, 4, 6, 7, 8, 12])
def test_inverse_roots_match_eigh(p, degree):
    A = spd(40, 100.0, seed=p)
    root = inv_root(A, p, steps=20, degree=degree)
    # An inverse p-th root has condition κ/p·κ^(-1/p) < κ; the powers of M add a factor p.
    assert relative_error(root, eigh_power(A, -1 / p)) < 20 * p * torch.finfo(F64).eps * 100


@pytest.mark.parametrize("p", [1, 2, 4])
def test_inverse_roots_float32(p):
    A = spd(100, 1e4, seed=p)
    root = inv_root(A.float(), p, steps=14)
    assert relative_error(root, eigh_power(A, -1 / p)) < 5 * 6e-5 * (3 if p == 1 else 1)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("condition", [1e4, 1e6])
def test_fewer_steps_than_the_classical_rule(condition, degree):
    for n, seed in ((100, 0), (200, 1)):
        A = spd(n, condition, seed)
        expected = eigh_power(A, -0.5)

        def steps_to_tolerance(rule, A=A, expected=expected):
            for steps in range(1, 60):
                if relative_error(inv_sqrtm(A, steps=steps, rule=rule, degree=degree), expected) < 1e-3:
                    return steps
            raise AssertionError(f"{rule} does not converge")

        assert steps_to_tolerance("prism") <= 0.72 * steps_to_tolerance("taylor")


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_scale(scale):
    A = spd(30, 100.0)
    scaled = (A * scale).float()
    assert relative_error(sqrtm(scaled), eigh_power(A, 0.5) * scale**0.5) < 5 * 6e-7
    assert relative_error(inv_sqrtm(scaled), eigh_power(A, -0.5) * scale**-0.5) < 5 * 1e-6
    assert relative_error(inv_root(scaled, 4), eigh_power(A, -0.25) * scale**-0.25) < 5 * 1e-6


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("share", [0.5, 0.75, 1.0])
def test_entries_up_to_the_largest_number(share, dtype):
    A = spd(20, 100.0)
    A = A / A.abs().max()
    largest = share * torch.finfo(dtype).max
    scaled = (A * largest).to(dtype)
    assert scaled.isfinite().all()
    root_bar, inverse_bar = (5 * x for x in EXPECTED[dtype, 1e2])
    # A power of 1e308 is rounded too, by its logarithm's few ulps.
    root_bar, inverse_bar = root_bar + 1e-15, inverse_bar + 1e-15
    assert relative_error(sqrtm(scaled).double() / largest**0.5, eigh_power(A, 0.5)) < root_bar
    assert relative_error(inv_sqrtm(scaled).double() * largest**0.5, eigh_power(A, -0.5)) < inverse_bar
    assert relative_error(inv_root(scaled, 4).double() * largest**0.25, eigh_power(A, -0.25)) < inverse_bar


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("n", [1, 2, 30])
def test_identity(n, dtype):
    bar = 1e-13 if dtype == F64 else 1e-6
    eye = torch.eye(n, dtype=dtype)
    for result in (*sqrtm_pair(eye), inv_root(eye, 4), inv_root(eye, 1), inv_root(16 * eye, 4) * 2):
        assert (result - eye).abs().max() < bar


def test_zero():
    zero = torch.zeros(2, 5, 5)
    assert (sqrtm(zero) == 0).all()
    assert not inv_sqrtm(zero).isfinite().all()
    assert not inv_root(zero, 3).isfinite().all()


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float64, 1e-7), (torch.float32, 2e-3)])
def test_semidefinite_square_root(dtype, bar):
    # A zero eigenvalue perturbed by eps has root √eps: that, times a small factor, is what can be had.
    B = gaussian(60, 20)
    A = B @ B.T
    root, history = sqrtm(A.to(dtype), history=True)
    assert relative_error(root, eigh_power(A, 0.5)) < bar
    assert history.residual[-1] > 0.5


def test_repeated_eigenvalues():
    values = torch.tensor([4.0] * 8 + [1.0] * 8 + [0.01] * 8, dtype=F64)
    A = with_eigenvalues(values)
    assert relative_error(sqrtm(A), eigh_power(A, 0.5)) < 1e-12
    assert relative_error(inv_root(A, 3), eigh_power(A, -1 / 3)) < 1e-12


@pytest.mark.parametrize("eps", [1e-1, 1e-4])
def test_damping_is_relative_to_the_mean_eigenvalue(eps):
    A = spd(25, 1e6) * 1e3
    damped = A + eps * A.trace() / 25 * torch.eye(25, dtype=F64)
    for result, exponent in (
        (sqrtm(A, eps=eps, steps=16), 0.5),
        (inv_sqrtm(A, eps=eps, steps=16), -0.5),
        (inv_root(A, 4, eps=eps, steps=16), -0.25),
    ):
        assert relative_error(result, eigh_power(damped, exponent)) < 1e-10


@pytest.mark.parametrize("steps", [3, 6, 10, 20, 40])
@pytest.mark.parametrize("low", [-1e-3, -0.1, -1.0])
def test_indefinite_input_is_never_a_plausible_answer(low, steps):
    values = torch.cat([log_spaced(19, 100.0), torch.tensor([low], dtype=F64)])
    A = with_eigenvalues(values)
    for run in (sqrtm, inv_sqrtm, lambda A, **kw: inv_root(A, 3, **kw), lambda A, **kw: inv_root(A, 4, **kw)):
        result, history = run(A, steps=steps, history=True)
        assert not result.isfinite().all() or not history.residual[-1] < 0.2


def test_log_uniform_spectrum_needs_what_steps_for_says():
    for condition in (1e2, 1e5):
        steps = steps_for("sqrtm", condition=condition, tol=1e-3)
        _, history = sqrtm(spd(150, condition), steps=steps + 2, history=True)
        first = int((history.residual < 1e-3).nonzero()[0])
        assert abs(first - steps) <= 1
