"""Matrices of low rank: U on A's own row space, where it is unique, and roots of semidefinite matrices."""

import pytest
import torch

import prism_compile as pc

from ..matrices import (
    C128,
    F64,
    eigh_power,
    gaussian,
    log_spaced,
    relative_error,
    widest,
    with_singular_values,
)
from .cases import WAYS

pytestmark = pytest.mark.usefixtures("one_thread")
N = 48
SHAPES = ((N, N), (80, N), (N, 80), (16, 16))
RANKS = [(rank, m, n) for m, n in SHAPES for rank in (1, 2, 5, min(m, n) // 2, min(m, n) - 1)]


def low_rank(
    rank: int, m: int, n: int, seed: int, condition: float = 30.0, dtype: torch.dtype = F64
) -> torch.Tensor:
    """Exactly low rank but for rounding, its true part of this condition."""
    return with_singular_values(log_spaced(rank, condition), m, n, seed, widest(dtype)).to(dtype)


def row_space_error(A: torch.Tensor, rank: int, **options) -> float:
    """‖(U - U₀)V_r‖_F/√r, U₀ the polar factor of A's leading part by the SVD in 64 bits."""
    wide = widest(A.dtype)
    W, _, Vh = torch.linalg.svd(A.to(wide), full_matrices=False)
    U = pc.polar(A, **options).to(wide)
    return ((U @ Vh[:rank].mH - W[:, :rank]).norm() / rank**0.5).item()


# The default raises what is small from the first step on, and a table's dips enlarge the rounding of the true
# part by 25 at most: measured are 5e-6, 2e-14, and 0.1 in five steps, which leave a value at one within 0.14.
ISSUED = [
    *((torch.float32, steps, 1e-5) for steps in (8, 9, 10, 12, 14, 20, 40)),
    *((F64, steps, 1e-12) for steps in (10, 14, 24, 40)),
    (torch.float32, 5, 0.15),
    (torch.complex64, 10, 1e-5),
    (C128, 14, 1e-12),
]


@pytest.mark.parametrize(("dtype", "steps", "bound"), ISSUED, ids=str)
def test_the_default_keeps_the_true_part(dtype, steps, bound):
    for seed, (rank, m, n) in enumerate(RANKS):
        # Equal values may all be moved at once, which no loss of a mean resists.
        for condition in (1.0, 30.0):
            A = low_rank(rank, m, n, seed, condition, dtype)
            assert row_space_error(A, rank, steps=steps, form="direct") <= bound


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex64, C128], ids=str)
@pytest.mark.parametrize("way", ["prism", "prism, cubic", "taylor", "polar_express"])
def test_other_rules_keep_it_to_rounding(way, dtype):
    """They leave at one what is at one."""
    for seed, (rank, m, n) in enumerate(RANKS):
        A = low_rank(rank, m, n, seed, 10.0, dtype)
        # √n roundings, enlarged by the true part's condition, and by the rest, which rounding turns.
        bar = 10 * max(m, n) ** 0.5 * torch.finfo(dtype).eps * 10
        assert row_space_error(A, rank, steps=20, form="direct", **WAYS[way]) <= bar


@pytest.mark.parametrize(("rule", "steps"), [("adaptive", 8), ("adaptive", 12), ("prism", 12)])
def test_in_bfloat16(rule, steps):
    for seed, rank in enumerate((1, 4, 12, N - 1)):
        A = low_rank(rank, N, N, seed, dtype=torch.bfloat16)
        # The rounding of A itself moves the row space of its smallest values.
        assert row_space_error(A, rank, steps=steps, rule=rule) <= 1.5e-2


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (24, 24)])
def test_the_factors_are_those_of_the_matrix(shape, dtype, side):
    A = low_rank(10, *shape, seed=0, condition=10.0, dtype=dtype)
    wide = widest(dtype)
    for rule, digits in (("prism", 100), ("adaptive", 400)):
        U, H = pc.polar_factors(A, steps=20, side=side, rule=rule)
        product = (U @ H if side == "right" else H @ U).to(wide)
        assert relative_error(product, A.to(wide)) < digits * torch.finfo(dtype).eps
        # Directions that rounding created may still be on their way; a fitted step lets them rise above one.
        assert torch.linalg.svdvals(U).max() < (1.25 if rule == "prism" else 1 + 100 * torch.finfo(dtype).eps)


def semidefinite_error(rank: int, seed: int, dtype: torch.dtype, **options) -> tuple[float, float]:
    """Of the square root of a 60×60 matrix: the relative error, and the last residual."""
    B = gaussian(60, rank, seed=seed, dtype=widest(dtype))
    A = B @ B.mH
    root, history = pc.sqrtm(A.to(dtype), history=True, **options)
    return relative_error(root, eigh_power(A, 0.5)), history.residual[-1].item()


# Longer runs diverge, those of other rules sooner: rounding makes a zero eigenvalue negative.
SEMIDEFINITE = [
    *(("adaptive", steps, dtype) for steps in (8, 16, 24) for dtype in (F64, C128)),
    *(("adaptive", steps, dtype) for steps in (12, 30) for dtype in (torch.float32, torch.complex64)),
    # The noise of the zeros is not raised.
    *(("adaptive", steps, torch.float32) for steps in (8, 9, 10)),
    *((rule, 8, dtype) for rule in ("prism", "taylor") for dtype in (F64, torch.float32, torch.complex64)),
]


@pytest.mark.parametrize(("rule", "steps", "dtype"), SEMIDEFINITE, ids=str)
def test_square_roots_of_semidefinite_matrices(rule, steps, dtype):
    for seed, rank in enumerate((1, 6, 20, 30, 50)):
        error, residual = semidefinite_error(rank, seed, dtype, rule=rule, steps=steps)
        # A zero eigenvalue that rounding perturbs by ε has the root √ε: that can be had, but for a factor.
        assert error < 10 * torch.finfo(dtype).eps ** 0.5
        # It is of S² against A, with no word on an inverse root, which there is none of.
        assert residual < 10 * torch.finfo(dtype).eps ** 0.5
