"""`polar(A, rotation=True)`: the nearest matrix of determinant +1, against the SVD and its derivative."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import prism_compile as pc

from .matrices import F64, gaussian, orthogonal, relative_error

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, F64])
# So many steps that every σ of the matrices below but a last one of zero is one to rounding.
STEPS = {torch.float32: 12, F64: 18}


def procrustes(A: torch.Tensor) -> torch.Tensor:
    W, _, Vh = torch.linalg.svd(A.to(F64))
    last = torch.ones(A.shape[:-1], dtype=F64)
    last[..., -1] = torch.linalg.det(W @ Vh).sign()
    return W * last[..., None, :] @ Vh


def rotation(A: torch.Tensor, **options) -> torch.Tensor:
    return pc.polar(A, steps=STEPS[A.dtype], rotation=True, **options)


def of_signed_values(*values: float, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """A of these singular values, its determinant of the sign of their product, its rotation, W and V."""
    W, V = orthogonal(len(values), seed), orthogonal(len(values), seed + 1)
    W[:, 0] *= torch.linalg.det(W).sign()
    V[:, 0] *= torch.linalg.det(V).sign()
    return W * torch.tensor(values, dtype=F64) @ V.mT, W @ V.mT, W, V


MATRICES = {
    "of one row": gaussian(20, 1, 1),
    "in the plane": gaussian(400, 2, 2),
    "in space": gaussian(400, 3, 3),
    "points in a plane": gaussian(100, 3, 2) @ gaussian(100, 2, 3, seed=1),
    "large": gaussian(3, 48, 48),
    "large, rank n - 1": gaussian(3, 48, 47) @ gaussian(3, 47, 48, seed=1),
    "last value 1e-12": of_signed_values(3.0, 2.0, 1.0, -1e-12)[0][None],
}


@DTYPES
@pytest.mark.parametrize("name", MATRICES)
def test_is_the_nearest_rotation(name, dtype):
    A = MATRICES[name].to(dtype)
    values, expected, R = torch.linalg.svdvals(A.to(F64)), procrustes(A), rotation(A).to(F64)
    n, eps = A.shape[-1], torch.finfo(dtype).eps
    # Perturbing A by ε σ1 turns the rotation by that over σ_{n-1} ± σ_n.
    signed = values[:, -1] * torch.linalg.det(expected @ A.mT.to(F64)).sign()
    least = values[:, max(n - 2, 0)] + signed
    errors = torch.linalg.matrix_norm(R - expected)
    assert (errors <= 200 * eps * values[:, 0] / least + 4 * n * eps).all()
    assert (torch.linalg.det(R) - 1).abs().max() <= 16 * n * eps


@DTYPES
@pytest.mark.parametrize(
    "values", [(1, 1, 1, -1), (1, 0.8, 0.3, -0.3), (1, 0.3, 0.3 + 1e-4, -0.3), (1, 1, 1, 1)]
)
def test_of_values_that_tie_is_one_of_the_nearest(values, dtype):
    A = of_signed_values(*values)[0].to(dtype)
    R, eps = rotation(A).to(F64), torch.finfo(dtype).eps
    best = torch.tensor(values, dtype=F64).sum()
    assert (R * A).sum() >= best - 16 * eps
    assert torch.linalg.det(R) > 0
    assert torch.linalg.matrix_norm(R.mT @ R - torch.eye(4)) <= 32 * eps


@pytest.mark.parametrize("last", [0.3, 1e-3, 1e-9, 0.0, -1e-9, -1e-3, -0.1])
@pytest.mark.parametrize("gradient", ["unrolled", "dual"])
def test_derivative(gradient, last):
    A, expected, W, V = of_signed_values(1.0, 0.5, last)
    A.requires_grad_()
    R, direction, values = (
        rotation(A, gradient=gradient),
        gaussian(3, 3),
        torch.tensor([1.0, 0.5, last], dtype=F64),
    )
    M = W.mT @ direction @ V
    sums = values[:, None] + values + 4 * torch.eye(3, dtype=F64)
    (found,) = torch.autograd.grad((R * direction).sum(), A)
    assert relative_error(R.detach(), expected) < 1e-14
    # A factor of one that has not converged along the last value multiplies rounding by its derivative.
    assert relative_error(found, W @ ((M - M.mT) / sums) @ V.mT) < 1e-4


@pytest.mark.parametrize("sign", [1, -1])
def test_second_derivatives_by_differences(sign):
    A = gaussian(3, 3)
    A[0] *= sign * torch.linalg.det(A).sign()
    gradgradcheck(lambda A: pc.polar(A, rotation=True, rule="prism"), A.requires_grad_(), rtol=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_derivatives_by_differences_also_where_values_tie(sign):
    A = orthogonal(4) if sign > 0 else gaussian(4, 4)
    A[0] *= sign * torch.linalg.det(A).sign()
    gradcheck(rotation, A.requires_grad_(), check_forward_ad=True)


def test_compiled_mapped_and_exported():
    # Of float32, whose graph is half as long.
    A, expected = gaussian(5, 3, 3).float(), procrustes(gaussian(5, 3, 3))

    class Align(torch.nn.Module):
        def forward(self, A):
            return pc.polar(A, rotation=True, steps=8, rule="minimax")

    program = torch.export.export(Align(), (A,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    calls = (torch.compile(Align(), fullgraph=True), torch.vmap(Align()), program.module())
    for call in (*calls, program.run_decompositions().module()):
        assert relative_error(call(A), expected) < 1e-5


def test_half_precision_is_computed_in_float32():
    A = gaussian(50, 3, 3, dtype=torch.bfloat16)
    R = pc.polar(A, rotation=True)
    assert R.dtype is torch.bfloat16
    assert torch.equal(R, pc.polar(A.float(), rotation=True).bfloat16())


def test_nan_stays_in_its_matrix_and_an_empty_one_is_returned():
    A = gaussian(3, 3, 3)
    A[1, 0, 0] = float("nan")
    assert rotation(A).isnan().flatten(1).any(1).tolist() == [False, True, False]
    assert rotation(torch.zeros(2, 0, 0, dtype=F64)).shape == (2, 0, 0)


def test_history_is_of_what_is_returned():
    A = gaussian(3, 1, dtype=F64) @ gaussian(1, 3, dtype=F64)
    R, history = rotation(A, history=True)
    # Of rank one no rotation is the nearest: the history shows that none was found.
    gram = R.mT @ R - torch.eye(3)
    assert history.residual[-1] == pytest.approx((torch.linalg.matrix_norm(gram) / 3**0.5).item(), abs=1e-14)


@pytest.mark.parametrize("A", [torch.ones(3, 2), torch.ones(2, 2, dtype=torch.complex64)])
def test_refused(A):
    with pytest.raises(
        ValueError, match=r"rotation must be False .* not real and square, got True for A of shape"
    ):
        pc.polar(A, rotation=True)
    with pytest.raises(TypeError, match="rotation must be True or False, got 1"):
        pc.polar(torch.eye(2), rotation=1)
