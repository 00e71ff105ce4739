"""The rule "adaptive": safe where the matrix is low rank, bounded, exact at convergence, and of every
order."""

import pytest
import torch

import prism_compile as pc

from .matrices import (
    F64,
    gaussian,
    log_spaced,
    orthogonal,
    relative_error,
    rms_orthogonality,
    spd,
    svd_polar,
    with_singular_values,
)

pytestmark = pytest.mark.usefixtures("one_thread")
N = 48


def low_rank(rank: int, m: int, n: int, seed: int, condition: float = 30.0) -> torch.Tensor:
    """Exactly low rank but for rounding, its true part of this condition."""
    return with_singular_values(log_spaced(rank, condition), m, n, seed)


def row_space_error(A: torch.Tensor, rank: int, **options) -> float:
    """‖(U - U₀)V_r‖_F/√r, U₀ the polar factor of A's leading part by the SVD in float64."""
    W, _, Vt = torch.linalg.svd(A.double(), full_matrices=False)
    U = pc.polar(A, **options).double()
    V = Vt[:rank].T
    return ((U @ V - W[:, :rank]).norm() / rank**0.5).item()


CASES = [
    (rank, m, n)
    for m, n in ((N, N), (80, N), (N, 80), (16, 16))
    for rank in (1, 2, 5, min(m, n) // 2, min(m, n) - 1)
]


# Issued bounds; measured 1e-6, 6e-15 and 1e-2, prism's.
@pytest.mark.parametrize(
    ("dtype", "steps", "bound"),
    [(torch.float32, steps, 1e-5) for steps in (8, 9, 10, 12, 14, 20, 40)]
    + [(F64, steps, 1e-10) for steps in (10, 14, 24, 40)]
    + [(torch.float32, 5, 1e-2)],
    ids=str,
)
def test_low_rank_keeps_its_true_part(dtype, steps, bound):
    for seed, (rank, m, n) in enumerate(CASES):
        # Equal values may all be moved at once, which no loss of a mean resists.
        for condition in (1.0, 30.0):
            A = low_rank(rank, m, n, seed, condition).to(dtype)
            assert row_space_error(A, rank, steps=steps, form="direct") <= bound


@pytest.mark.parametrize("steps", [8, 12])
def test_low_rank_in_bfloat16(steps):
    for seed, rank in enumerate((1, 4, 12, N - 1)):
        A = low_rank(rank, N, N, seed).bfloat16()
        # The rounding of A itself moves the row space of its smallest values; prism measures the same 1e-2.
        assert row_space_error(A, rank, steps=steps) <= 2e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("steps", [3, 5, 8, 12])
def test_singular_values_stay_within_the_cap(dtype, steps):
    made = [
        gaussian(N, N),
        gaussian(N, 4) @ gaussian(4, N) + 0.05 * gaussian(N, N, seed=2),
        with_singular_values(log_spaced(N, 1e4), N, N),
        with_singular_values(torch.where(torch.arange(N) < 2, 50.0, 1.0).to(F64), N, N),
    ]
    U = pc.polar(torch.stack(made).to(dtype), steps=steps)
    # √1.5625, and half precision's rounding.
    assert torch.linalg.svdvals(U.double()).max() <= 1.25 * (1.02 if dtype is torch.bfloat16 else 1 + 1e-4)


def test_no_singular_value_changes_its_sign():
    values = log_spaced(N, 1e3)
    Q, P = orthogonal(N), orthogonal(N, 1)
    for steps in (3, 5, 8):
        U = pc.polar((Q * values) @ P.T, steps=steps)
        assert (Q.T @ U @ P).diagonal().min() > 0


@pytest.mark.parametrize("steps", [10, 14])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_converges_to_the_polar_factor(steps, dtype):
    A = with_singular_values(log_spaced(N, 10.0), N, N).to(dtype)
    # Condition times a few hundred roundings.
    assert relative_error(pc.polar(A, steps=steps), svd_polar(A)) < 10 * 300 * torch.finfo(dtype).eps


def test_fixed_points():
    eye = torch.eye(9)
    torch.testing.assert_close(pc.polar(eye), eye, rtol=0, atol=1e-6)
    assert (pc.polar(torch.zeros(5, 4)) == 0).all()
    A = gaussian(3, 7, 7).float()
    A[1, 2, 3] = torch.nan
    U = pc.polar(A)
    assert U[1].isnan().all()
    torch.testing.assert_close(U[[0, 2]], pc.polar(A[[0, 2]]))


@pytest.mark.parametrize("steps", [4, 5, 6])
def test_ends_nearer_than_prism_on_long_tails(steps):
    A = with_singular_values(log_spaced(96, 1e3), 96, 96).float()
    ours, prism = (rms_orthogonality(pc.polar(A, rule=rule, steps=steps)) for rule in ("adaptive", "prism"))
    assert ours < 0.7 * prism


@pytest.mark.parametrize(
    ("p", "condition", "steps"),
    [(1, 1e2, 5), (2, 1e4, 5), (2, 1e6, 7), (3, 1e2, 3), (3, 1e4, 5), (4, 1e2, 3), (4, 1e4, 5), (8, 1e6, 6)],
)
def test_every_order_converges_in_fewer_steps(p, condition, steps):
    # Two seeds of a sketch of eight rows: half more than the tolerance of the published counts, 1e-3.
    for seed in (0, 1):
        A = spd(64, condition, seed)
        assert pc.inv_root(A, p, steps=steps, history=True)[1].residual[-1] < 1.5e-3


@pytest.mark.parametrize("steps", [8, 12, 20])
def test_roots_of_singular_matrices_stay_finite(steps):
    B = gaussian(N, 6).float()
    root = pc.sqrtm(B @ B.mT, steps=steps)
    assert root.isfinite().all()
    exact = torch.linalg.svd(B.double())
    expected = (exact.U[:, :6] * exact.S) @ exact.U[:, :6].T
    # √ε of the largest, as far as the type allows.
    assert relative_error(root, expected) < 10 * torch.finfo(torch.float32).eps ** 0.5


def test_default_form_is_as_exact_as_the_direct_one_from_eight_steps_on():
    for condition in (1e1, 1e3):
        A = with_singular_values(log_spaced(32, condition), 160, 32).float()
        direct, chosen = (relative_error(pc.polar(A, form=f), svd_polar(A)) for f in ("direct", "auto"))
        assert chosen <= 3 * direct
