"""The Gram form of the polar iteration: as accurate as the direct one where A is well conditioned."""

import pytest
import torch

from prism_compile import polar, polar_factors

from .matrices import F64, gaussian, log_spaced, relative_error, rms_orthogonality, with_singular_values
from .rules.published import PUBLISHED

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
RULES = ["adaptive", "prism", "taylor", "polar_express"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_is_as_orthogonal_as_the_direct_form(rule, dtype):
    n, eps = 32, torch.finfo(dtype).eps
    for steps in (1, 2, 5, 7, 12):
        for A in (gaussian(4 * n, n), with_singular_values(log_spaced(n, 10.0), 2 * n, n)):
            A = A.to(dtype)
            gram, direct = (polar(A, steps=steps, rule=rule, form=form) for form in ("gram", "direct"))
            # Both floors are of the order of eps. Above them the segments' error, eps·κ² and a few steps'
            # growth of it, enters the last step and is there squared.
            assert rms_orthogonality(gram) < 1.01 * rms_orthogonality(direct) + 2 * eps
            largest = torch.linalg.svdvals(direct.double()).max()
            assert torch.linalg.svdvals(gram.double()).max() < 1.01 * largest + 2 * eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", [*RULES, "you", "jordan"])
def test_long_runs_stay_bounded(rule, dtype):
    # A segment's rounding errors grow by g(1)² in each of its steps; with tables that is 68 in one. What
    # converges is one in the end, and what does not at most a local maximum of the quintic.
    largest = 1.0
    if rule == "jordan":
        a, b, c = PUBLISHED[rule][-1]
        x = torch.linspace(0, 1, 10_000, dtype=F64)
        largest = (a * x + b * x**3 + c * x**5).max()
    unit = torch.finfo(dtype).eps * (2 if dtype in (torch.float16, torch.bfloat16) else 10 * 32**0.5)
    for values in (log_spaced(32, 1e6), (torch.arange(32) < 4).double()):
        U = polar(with_singular_values(values, 96, 32).to(dtype), steps=40, rule=rule, form="gram")
        assert torch.linalg.svdvals(U.double()).max() < largest + unit


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_vanishing_singular_values_cost_what_is_documented(dtype):
    A = with_singular_values(log_spaced(10, 10.0), 40, 20)
    U, H = polar_factors(A.to(dtype), steps=20, form="gram")
    # What rounding makes of the zeros is raised, in a Gram matrix that is carried on: 2e-4 and 6e-9 measured.
    assert relative_error(U @ H, A) < (5e-4 if dtype == torch.float32 else 5e-8)
    U, H = polar_factors(A.to(dtype), steps=20)
    assert relative_error(U @ H, A) < 10 * 20**0.5 * torch.finfo(dtype).eps


def test_auto_is_gram_for_short_runs_of_rectangles_beyond_one_and_a_half():
    for shape, form in (((31, 20), "gram"), ((20, 31), "gram"), ((30, 20), "direct"), ((20, 20), "direct")):
        A = gaussian(*shape)
        assert torch.equal(polar(A, steps=5), polar(A, steps=5, form=form))
        assert not torch.equal(polar(A, steps=5, form="gram"), polar(A, steps=5, form="direct"))
        # Runs of eight steps and more are for accuracy.
        assert torch.equal(polar(A, steps=8), polar(A, steps=8, form="direct"))


def test_history_reads_the_residual_of_the_propagated_gram_matrix():
    A = gaussian(80, 20)
    U, history = polar(A, steps=6, form="gram", history=True)
    _, direct = polar(A, steps=6, form="direct", history=True)
    torch.testing.assert_close(history.residual, direct.residual, atol=1e-12, rtol=1e-6)
    assert torch.equal(U, polar(A, steps=6, form="gram"))


@pytest.mark.parametrize("gradient", ["unrolled", "dual"])
def test_gradient_is_that_of_the_direct_form(gradient):
    direction, results = gaussian(30, 8, seed=1), []
    for form in ("gram", "direct"):
        A = gaussian(30, 8).requires_grad_()
        results += torch.autograd.grad(polar(A, steps=12, form=form, gradient=gradient), A, direction)
    torch.testing.assert_close(*results, atol=1e-11, rtol=0)
