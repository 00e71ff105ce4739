"""The rule "adaptive": what holds by construction, and equal steps against the other rules."""

import math

import numpy
import pytest
import torch

import prism_compile as pc
from prism_compile._iteration import adaptive, quadrature
from prism_compile._iteration.forms import PolarForm
from prism_compile._iteration.sketch import sketches

from .matrices import (
    F64,
    gaussian,
    log_spaced,
    orthogonal,
    relative_error,
    rms_orthogonality,
    svd_polar,
    with_eigenvalues,
    with_singular_values,
)

N = 96
STEPS = range(3, 9)
OTHERS = ("prism", "polar_express", "jordan", "you")


def spectra() -> dict[str, torch.Tensor]:
    """Singular values of matrices, or the values themselves, of many kinds."""
    i = torch.arange(1, N + 1, dtype=F64)
    normal = gaussian(N, seed=3)
    return {
        "flat": torch.ones(N, dtype=F64),
        "Gaussian": torch.linalg.svdvals(gaussian(N, N)),
        "Gaussian 3:1": torch.linalg.svdvals(gaussian(3 * N, N)),
        "log-spaced to 1e-2.3": log_spaced(N, 10**2.3),
        "log-spaced to 1e-4.4": log_spaced(N, 10**4.4),
        "power law 0.8": i**-0.8,
        "lognormal": (1.3 * normal).exp(),
        "product": torch.linalg.svdvals(gaussian(N, N) @ gaussian(N, N, seed=1)),
        "clusters": torch.where(i < N / 3, 1.0, 0.06),
        "spikes": torch.where(i < 4, 20.0, 1 + 0.1 * normal),
        "low rank": torch.linalg.svdvals(
            gaussian(N, 12) @ gaussian(12, N) / 40 + 0.02 * gaussian(N, N, seed=2)
        ),
    }


def matrices(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    made = [with_singular_values(v.abs(), N, N, seed=k) for k, v in enumerate(spectra().values())]
    return torch.stack(made).to(dtype)


def singular_values(A: torch.Tensor, rule: str, steps: int) -> torch.Tensor:
    return torch.linalg.svdvals(pc.polar(A, rule=rule, steps=steps).double())


def errors(A: torch.Tensor, rule: str, steps: int) -> torch.Tensor:
    return (1 - singular_values(A, rule, steps)).square().mean(-1).sqrt()


def tables() -> adaptive.Tables:
    return adaptive.tables(torch.arange(adaptive.COUNT, dtype=F64), F64)


def moments_of(x: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """⟨T_i T_j⟩ of a spectrum x in (0, 1], `[1, 1, 36]`."""
    V = torch.cos(torch.arange(quadrature.BLOCKS)[:, None] * torch.acos(2 * x - 1))
    weights = torch.full_like(x, 1 / len(x)) if weights is None else weights
    return ((V * weights) @ V.T).reshape(1, 1, -1)


def as_polynomial(fitted: tuple, x: torch.Tensor, u: float) -> torch.Tensor:
    """What a step makes of the singular values u√x."""
    g0, g1, g2 = (number.item() for number in fitted[:3])
    r = 1 - u * u * x
    return u * x.sqrt() * (g0 + r * (g1 + r * g2))


CLASSICAL = (*(torch.tensor(g, dtype=F64) for g in adaptive.CLASSICAL), None)


def next_residual(fitted: tuple, x: torch.Tensor, u: float) -> torch.Tensor:
    return 1 - as_polynomial(fitted, x, u).square()


@pytest.mark.parametrize("steps", STEPS)
def test_equal_steps(steps):
    A = matrices()
    error = errors(A, "adaptive", steps)
    others = {rule: errors(A, rule, steps) for rule in OTHERS}
    best = torch.stack(list(others.values())).amin(0)
    missed = [
        (name, *pair)
        for name, *pair in zip(spectra(), error.tolist(), best.tolist())
        if pair[0] > 1.02 * pair[1] + 0.002
    ]
    assert not missed
    assert all(error.mean() < 0.9 * other.mean() for other in others.values())


def test_quadrature_is_exact():
    # Degree 10 on 11 nodes: the weights' condition is small, and so the error a few eps.
    x = torch.rand(50, dtype=F64, generator=torch.Generator().manual_seed(0))
    found = tables()
    weights = adaptive._weights(moments_of(x), found.points, None, found)[0, 0]
    for power in range(11):
        assert math.isclose((weights * found.points**power).sum(), (x**power).mean(), abs_tol=1e-14)


@pytest.mark.parametrize("dtype", [F64, torch.float32])
def test_blocks_give_the_moments(dtype):
    values = torch.cat([torch.linspace(0.02, 1, 20, dtype=F64), torch.tensor([1.9], dtype=F64)])
    u = 1.5**0.5
    Q, n = orthogonal(21), 21
    G = (Q * values) @ Q.T
    S = sketches(n, 8, 1, 0, dtype, torch.device("cpu"))[0]
    blocks = quadrature.chebyshev_blocks(
        S, (torch.eye(n, dtype=F64) - G).to(dtype)[None], torch.full((1, 1, 1), u, dtype=dtype)
    )
    weights = (S.double() @ Q).square().sum(0) / (8 * n)
    # x up to 1.27, where T_5² reaches 2e4, in place of at most one: the sharper a test of the recurrence.
    expected = numpy.polynomial.chebyshev.chebvander((2 * values / u**2 - 1).numpy(), 5)
    expected = torch.from_numpy(expected.T * weights.numpy() @ expected)
    found = quadrature.moments_of(blocks).reshape(6, 6).double()
    torch.testing.assert_close(
        found, expected, rtol=0, atol=1e3 * expected.max().item() * torch.finfo(dtype).eps
    )


@pytest.mark.parametrize("u", [1.0, 1.2, 1.51])
@pytest.mark.parametrize("left", [1, 2, 3, 5])
def test_a_step_keeps_the_sign_and_the_cap(left, u):
    """Whatever the moments say, also where no spectrum could have them."""
    x, found = torch.linspace(1e-6, 1, 2001, dtype=F64), tables()
    for seed in range(40):
        moments = gaussian(1, 1, 36, seed=seed) if seed % 2 else moments_of(torch.rand(20, dtype=F64) ** 3)
        fitted = adaptive.fit_quintic(moments, torch.full((1, 1, 1), u, dtype=F64), 8 - left, 8, found)
        made = as_polynomial(fitted, x, u)
        assert made.min() > 0
        # The classical step makes no more than 1.53 of σ ≤ 1.53, nor than one of σ ≤ 1.
        assert made.max() <= max(
            adaptive._of_step(adaptive._CAPS, left) * (1 + 1e-9), as_polynomial(CLASSICAL, x, u).max()
        )
        assert made.max() * (1 + 1e-9) <= fitted[3].item()
        assert adaptive.steepest(left) >= fitted[0] + fitted[1] + fitted[2]


@pytest.mark.parametrize("left", [0, 1, 3])
def test_no_accepted_step_raises_the_loss(left):
    found, accepted = tables(), 0
    masses_at = found.points[11:]
    for seed in range(30):
        x = torch.rand(40, dtype=F64, generator=torch.Generator().manual_seed(seed)) ** (1 + seed % 5)
        moments, u = moments_of(x), 1 + 0.1 * (seed % 3)
        # 12 steps end with some that go by the spectrum alone.
        steps, step = (12, 11) if left == 0 else (8, 8 - left)
        fitted = adaptive.fit_quintic(moments, torch.full((1, 1, 1), u, dtype=F64), step, steps, found)
        at = u * u * found.points
        masses = adaptive._weights(moments, at, adaptive._factors(step, steps), found)[0, 0, 11:]

        def loss(fitted, x=x, u=u, masses=masses):
            return (
                next_residual(fitted, x, u).square().mean()
                + (masses * next_residual(fitted, masses_at, u).square()).sum()
            )

        if fitted[0].item() != 1.0:
            accepted += 1
            assert loss(fitted) < loss(CLASSICAL)
    assert accepted > 10


def test_near_convergence_the_step_is_the_classical_one():
    for spread in (0.0, 1e-8, 1e-4, 0.01):
        x = 1 - spread * torch.rand(30, dtype=F64)
        fitted = adaptive.fit_quintic(moments_of(x), torch.ones(1, 1, 1, dtype=F64), 3, 8, tables())
        assert tuple(g.item() for g in fitted[:3]) == adaptive.CLASSICAL


class Watched(PolarForm):
    """The direct form, noting the largest singular value of each iterate."""

    largest: float

    def update(self, state, polynomial, last):
        state = super().update(state, polynomial, last)
        Watched.largest = max(Watched.largest, torch.linalg.svdvals(state.X.double()).max().item())
        return state


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_singular_values_are_bounded(dtype, monkeypatch):
    monkeypatch.setattr("prism_compile._polar.PolarForm", Watched)
    A = matrices(dtype)
    for steps in (1, 2, 3, 4, 5, 8, 30):
        Watched.largest = 0.0
        values = singular_values(A, "adaptive", steps)
        assert Watched.largest < 1.6
        assert values.max() < 1.25
    # The floor of bfloat16 is the rounding of X, 2^-9 relative to each entry; that of float32 is below 1e-4.
    assert (1 - values).square().mean(-1).sqrt().max() < (5e-3 if dtype == torch.bfloat16 else 1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_converged_stays_converged(dtype, tolerance):
    Q = torch.stack([orthogonal(N, seed) for seed in range(3)]).to(dtype)
    for steps in (3, 8, 12):
        U = pc.polar(Q, rule="adaptive", steps=steps)
        assert rms_orthogonality(U) < tolerance
        assert (U - Q).abs().max() < tolerance


def test_degenerate_matrices_keep_to_themselves():
    A = gaussian(5, N, N, dtype=torch.float32)
    alone = pc.polar(A[:1], rule="adaptive", steps=8)
    A[1], A[3] = 0, torch.eye(N)
    A[2, 3, 4] = math.nan
    A[4] = 1e30 * A[0]
    U = pc.polar(A, rule="adaptive", steps=8)
    assert U[2].isnan().all()
    assert U[1].abs().max() == 0
    assert (U[3] - torch.eye(N)).abs().max() < 1e-5
    # Equal matrices but for the scale: rounding, raised by up to 6 a step, and a fit with discrete choices.
    assert (U[[0, 4]] - alone).abs().max() < 1e-3


@pytest.mark.parametrize("rank", [1, 5, 40])
def test_rank_deficient_matrices(rank):
    values = torch.zeros(N, dtype=F64)
    values[:rank] = log_spaced(rank, 8.0)
    A = with_singular_values(values, N, N)
    # In few steps the zeros are taken for values yet to be raised: the others end within a quarter of one.
    for steps in (5, 8):
        found = torch.linalg.svdvals(pc.polar(A, rule="adaptive", steps=steps))
        assert (found[:rank] - 1).abs().max() < 0.26
    found = torch.linalg.svdvals(pc.polar(A, rule="adaptive", steps=11))
    assert (found[:rank] - 1).abs().max() < 1e-4
    assert found[rank:].max() < 1e-6


@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 1, 1), (2, 2), (0, 4, 4), (2, 0, 0), (5, 30, 4), (4, 30), (33, 32)]
)
def test_shapes(shape):
    A = gaussian(*shape)
    U = pc.polar(A, rule="adaptive", steps=24)
    assert U.shape == A.shape
    # Forward error eps·κ; no condition number here is above 1e3.
    assert A.numel() == 0 or relative_error(U, svd_polar(A)) < 1e-10


def test_float64_converges():
    A = matrices(F64)[[0, 1, 2, 3, 5]]
    U = pc.polar(A, rule="adaptive", steps=20)
    assert rms_orthogonality(U) < 1e-13
    # eps times the condition number, below 1e4, in a single direction.
    assert relative_error(U, svd_polar(A)) < 1e-10


def test_sign_and_square_roots():
    values = torch.cat([log_spaced(40, 1e3), -log_spaced(40, 1e2)])
    A = with_eigenvalues(values)
    sign = with_eigenvalues(values.sign())
    fast, slow = (relative_error(pc.signm(A, rule=rule, steps=5), sign) for rule in ("adaptive", "prism"))
    assert fast < 0.6 * slow
    # Forward error eps·κ = 2e-13 and a factor for the growth of rounding on the way.
    assert relative_error(pc.signm(A, rule="adaptive", steps=14), sign) < 1e-10
    P = with_eigenvalues(log_spaced(60, 1e6))
    exact = with_eigenvalues(log_spaced(60, 1e6) ** -0.5)
    fast, slow = (
        relative_error(pc.inv_sqrtm(P, rule=rule, steps=5), exact) for rule in ("adaptive", "prism")
    )
    assert fast < 0.8 * slow
    assert relative_error(pc.inv_sqrtm(P, rule="adaptive", steps=16), exact) < 1e-8


def test_steps_for():
    for condition in (1e4, 1e8):
        needed = pc.steps_for(condition, tol=1e-3, rule="adaptive")
        assert needed < pc.steps_for(condition, tol=1e-3, rule="prism")
        A = with_singular_values(log_spaced(N, condition**0.5), N, N)
        residual = pc.polar(A, rule="adaptive", steps=needed + 1, history=True)[1].residual[-1]
        assert residual < 1e-3


def test_steps_for_while_compiling():
    def run(A):
        return pc.polar(A, rule="adaptive", steps=pc.steps_for(1e2, tol=0.5, rule="adaptive"))

    A = gaussian(16, 16)
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(A), run(A), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_is_as_good_as_eager(dtype, one_thread):
    A = matrices(dtype)
    compiled = torch.compile(lambda A: pc.polar(A, rule="adaptive", steps=3), fullgraph=True)(A)
    # Not equal: a candidate that wins by less than rounding may be another.
    error = (1 - torch.linalg.svdvals(compiled.double())).square().mean(-1).sqrt()
    torch.testing.assert_close(error, errors(A, "adaptive", 3), rtol=0.02, atol=0.01)


def test_exported_op_decomposes():
    class Solve(torch.nn.Module):
        def forward(self, A):
            return torch.ops.prism.polar(A, rule="adaptive", steps=3)

    A = gaussian(3, 12, 12)
    shapes = {"A": {0: torch.export.Dim("batch")}}
    program = torch.export.export(Solve(), (A,), dynamic_shapes=shapes).run_decompositions()
    more = gaussian(5, 12, 12, seed=1)
    torch.testing.assert_close(program.module()(more), Solve()(more), rtol=0, atol=1e-10)


def test_vmap():
    A = gaussian(4, 10, 8)
    mapped = torch.vmap(lambda A: pc.polar(A, rule="adaptive", steps=4))(A)
    torch.testing.assert_close(mapped, pc.polar(A, rule="adaptive", steps=4), rtol=0, atol=1e-12)


def test_dual_gradient_equals_unrolled():
    G, gradients = gaussian(2, 20, 20, seed=9), []
    for gradient in ("unrolled", "dual"):
        A = gaussian(2, 20, 20).requires_grad_()
        U = pc.polar(A, rule="adaptive", steps=8, gradient=gradient)
        gradients.append(torch.autograd.grad((U * G).sum(), A)[0])
    # Equal in exact arithmetic; the derivative is as large as 1/σ_min.
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-10 * gradients[0].abs().max().item())
