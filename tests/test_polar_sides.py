"""polar_factors(side="left"): A = H U, as scipy.linalg.polar has it, against the SVD."""

import pytest
import torch

from prism_compile import PolarFactors, polar_factors

from .matrices import F64, gaussian, log_spaced, relative_error, with_singular_values

SHAPES = [(40, 24), (24, 40), (24, 24), (1, 5), (5, 1), (1, 1)]


def left_factor(A: torch.Tensor) -> torch.Tensor:
    """H = W Σ Wᵀ of A = W Σ Vᵀ."""
    W, sigma, _ = torch.linalg.svd(A.to(F64), full_matrices=False)
    return (W * sigma.unsqueeze(-2)) @ W.mT


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_left(m, n, dtype):
    k = min(m, n)
    A = torch.stack([with_singular_values(log_spaced(k, 10.0), m, n, seed) for seed in range(3)])
    U, H = polar_factors(A.to(dtype), side="left", steps=14)
    # A polar factor of condition κ is known to κ ε, and a product of it with A to n ε more.
    bar = 20 * (10 + k) * torch.finfo(dtype).eps
    assert H.shape == (3, m, m)
    assert torch.equal(H, H.mT)
    assert relative_error(H, left_factor(A)) < bar
    assert relative_error(H @ U, A) < bar
    # U is that of the other side.
    assert torch.equal(U, polar_factors(A.to(dtype), steps=14).U)


def test_rank_deficient_zero_and_large():
    A = with_singular_values(log_spaced(10, 10.0), 40, 24)
    U, H = polar_factors(A, side="left", steps=20)
    assert relative_error(H @ U, A) < 1e-6
    _, H = polar_factors(torch.zeros(2, 6, 4), side="left")
    assert (H == 0).all()
    A = with_singular_values(log_spaced(12, 10.0), 20, 12)
    for scale in (1e-30, 1e30):
        _, H = polar_factors((A * scale).float(), side="left", steps=14)
        assert relative_error(H.double() / scale, left_factor(A)) < 1e-4


def test_op_default_and_history():
    A = gaussian(2, 6, 4)
    expected = polar_factors(A, side="left", steps=6)
    assert all(map(torch.equal, torch.ops.prism.polar_factors(A, side="left", steps=6), expected))
    assert all(map(torch.equal, polar_factors(A, steps=6), polar_factors(A, steps=6, side="right")))
    result, history = polar_factors(A, side="left", steps=6, history=True)
    assert all(map(torch.equal, result, expected))
    assert history.residual.shape == (2, 7)


@pytest.mark.parametrize("gradient", ["unrolled", "dual"])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
def test_gradients(shape, gradient):
    A = with_singular_values(log_spaced(3, 5.0), *shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda A: polar_factors(A, side="left", gradient=gradient), (A,))


class Left(torch.nn.Module):
    def forward(self, A):
        return polar_factors(A, side="left", steps=3)


def test_graphs(tmp_path):
    A = gaussian(6, 4)
    torch._dynamo.reset()
    compiled = torch.compile(Left(), fullgraph=True, backend="aot_eager")(A)
    for part, expected in zip(compiled, Left()(A)):
        torch.testing.assert_close(part, expected, rtol=0, atol=1e-12)
    program = torch.export.export(Left(), (A,))
    (node,) = [n for n in program.graph.nodes if "polar_factors" in str(n.target)]
    assert node.kwargs == {"steps": 3, "side": "left"}
    torch.export.save(program, tmp_path / "left.pt2")
    result = torch.export.load(tmp_path / "left.pt2").module()(A)
    assert isinstance(result, PolarFactors)
    assert all(map(torch.equal, result, Left()(A)))
    mapped = torch.vmap(lambda A: polar_factors(A, side="left", steps=3))(A[None])
    torch.testing.assert_close(mapped.H[0], Left()(A).H, rtol=0, atol=1e-13)


@pytest.mark.parametrize("side", ["both", None, 1])
def test_refusals(side):
    with pytest.raises(ValueError, match=f"side must be one of 'right', 'left', got {side!r}"):
        polar_factors(torch.eye(3), side=side)
