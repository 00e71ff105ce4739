"""`pinv_root`: roots of what lies above a level, against eigh."""

import pytest
import torch

import prism_compile as pc

from .matrices import C128, F64, gaussian, log_spaced, orthogonal, relative_error, widest, with_eigenvalues

RTOL = 1e-3


def truncated(A: torch.Tensor, p: int, rtol: float) -> torch.Tensor:
    values, Q = torch.linalg.eigh(A.to(widest(A.dtype)))
    kept = values > rtol * values[..., -1:]
    powers = torch.where(kept, values.clamp(min=1e-300) ** (-1 / p), 0)
    return (Q * powers[..., None, :]) @ Q.mH


def of_rank(rank: int, n: int, condition: float, dtype: torch.dtype = F64, seed: int = 0) -> torch.Tensor:
    values = torch.cat([log_spaced(rank, condition), torch.zeros(n - rank, dtype=F64)])
    return with_eigenvalues(values, seed, widest(dtype)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex64, C128])
@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_of_low_rank(p, dtype):
    for rank, n, condition in ((1, 8, 1.0), (20, 32, 30.0), (60, 128, 1e2), (127, 128, 1e2), (16, 16, 1e2)):
        A = of_rank(rank, n, condition, dtype)
        # Rounding of A moves an eigenvector at the level by ε over the level.
        bound = 1e-6 + 8 * torch.finfo(dtype).eps * n**0.5 / RTOL
        assert relative_error(pc.pinv_root(3 * A, p, rtol=RTOL), truncated(3 * A, p, RTOL)) < bound


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("p", [1, 2, 3, 8])
def test_an_eigenvalue_just_above_any_level_is_kept(p, dtype):
    eps = torch.finfo(dtype).eps
    for rtol in torch.logspace(-0.3, 3 + torch.log10(torch.tensor(eps)).item(), 12).tolist():
        for factor in (2.2, 3.0, 30.0):
            A = with_eigenvalues(torch.tensor([1.0, min(factor * rtol, 1.0), 0.0, 0.0], dtype=F64)).to(dtype)
            X = pc.pinv_root(A, p, rtol=rtol)
            # Rounding of A alone moves that eigenvalue by a few ε; and a table raises what it rounds itself.
            assert relative_error(X, truncated(A, p, rtol)) < 1e-6 + (16 / rtol + 128) * eps


def test_large_kernels_and_long_tails_are_cut_at_the_level():
    x = torch.linspace(0, 1, 1024, dtype=F64)
    rbf, hilbert = (
        torch.exp(-50 * (x[:, None] - x) ** 2),
        1 / (torch.arange(64)[:, None] + torch.arange(64) + 1.0),
    )
    tails = [with_eigenvalues(torch.arange(1, 129, dtype=F64) ** -k) for k in (2, 4, 6)]
    for A in (rbf, hilbert.to(F64), *tails):
        values, Q = torch.linalg.eigh(A)
        X = pc.pinv_root(A, 2, rtol=RTOL)
        # One where an eigenvalue is kept, zero where it is dropped, in between from half the level to twice.
        kept, level = (Q.mT @ X @ Q).diagonal() * values.clamp(min=0).sqrt(), RTOL * values[-1]
        assert (kept[values > 2 * level] - 1).abs().max() < 1e-6
        assert kept[values < level / 2].abs().max() < 1e-6
        assert -1e-6 < kept.min() <= kept.max() < 1 + 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_of_a_covariance_in_half_precision(dtype):
    # With eigenvalues from 1 to 1/2, far from the level: 8nε is all of the spectrum in bfloat16.
    x = (orthogonal(16)[:, :5] * log_spaced(5, 2.0).sqrt()).to(dtype)
    A, rtol = x @ x.mT, 2 * 16 * torch.finfo(dtype).eps
    X = pc.pinv_root(A, 2, rtol=rtol)
    assert X.dtype is dtype
    assert relative_error(X, truncated(A, 2, rtol)) < 4 * torch.finfo(dtype).eps


def test_scales_zeros_and_nan():
    A = torch.stack(
        [of_rank(2, 4, 3.0), 1e30 * of_rank(2, 4, 3.0), torch.zeros(4, 4), torch.full((4, 4), torch.nan)]
    )
    A = A.float()
    X, history = pc.pinv_root(A, 2, rtol=0.01, history=True)
    assert relative_error(X[:2], truncated(A[:2], 2, 0.01)) < 1e-5
    assert not X[2].any()
    assert X[3].isnan().all()
    assert history.converged(1e-4).tolist() == [True, True, True, False]


def test_small_negative_eigenvalues_count_as_zero_and_large_ones_show():
    values = torch.tensor([1.0, 0.5, 0.0, -0.3], dtype=F64)
    X, history = pc.pinv_root(with_eigenvalues(values), 2, rtol=0.01, history=True)
    assert relative_error(X, truncated(with_eigenvalues(values), 2, 0.01)) < 1e-6
    assert history.converged(1e-6)
    assert not pc.pinv_root(with_eigenvalues(-values), 2, rtol=0.01, history=True)[1].converged(0.1)


@pytest.mark.parametrize("gradient", ["unrolled", "dual"])
@pytest.mark.parametrize("p", [1, 2])
def test_derivative_is_that_at_constant_rank(p, gradient):
    x, direction, weights = gaussian(8, 3).requires_grad_(), gaussian(8, 3, seed=1), gaussian(8, 8, seed=2)

    def loss(x, root):
        return (root(x @ x.mT) * weights).sum()

    (found,) = torch.autograd.grad(loss(x, lambda A: pc.pinv_root(A, p, rtol=RTOL, gradient=gradient)), x)
    h, exact, x = 1e-6, lambda A: truncated(A, p, RTOL), x.detach()
    by_difference = (loss(x + h * direction, exact) - loss(x - h * direction, exact)) / (2 * h)
    # The difference's own error is about h².
    assert (found * direction).sum().item() == pytest.approx(by_difference.item(), rel=1e-7)


def test_compiled_mapped_exported_and_as_op():
    A = torch.stack([of_rank(3, 8, 5.0, seed=seed) for seed in range(3)])
    expected = truncated(A, 2, 0.01)

    class Whiten(torch.nn.Module):
        def forward(self, A):
            return pc.pinv_root(A, 2, rtol=0.01)

    program = torch.export.export(Whiten(), (A,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    assert "prism.pinv_root" in str(program.graph)
    calls = (
        torch.compile(Whiten(), fullgraph=True, backend="aot_eager"),
        torch.vmap(Whiten()),
        program.run_decompositions().module(),
    )
    for call in (*calls, lambda A: torch.ops.prism.pinv_root(A, 2, rtol=0.01)):
        assert relative_error(call(A), expected) < 1e-6


def test_history_is_of_what_is_returned():
    A = with_eigenvalues(torch.tensor([1.0, 0.5, 1e-2, 0.0], dtype=F64))
    X, history = pc.pinv_root(A, 2, rtol=0.01, history=True)
    residual = torch.linalg.matrix_norm(X - X @ X @ X @ A) / torch.linalg.matrix_norm(X)
    # The eigenvalue at the level is kept in part.
    assert residual > 0.01
    assert history.residual[-1].item() == pytest.approx(residual.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"p": 2, "rtol": 0.0}, r"rtol must be in \(0, 1\), got 0.0"),
        ({"p": 2, "rtol": 1}, r"rtol must be in \(0, 1\), got 1"),
        ({"p": 0, "rtol": 0.1}, "p must be ≥ 1, got 0"),
    ],
)
def test_refused(options, said):
    with pytest.raises(ValueError, match=said):
        pc.pinv_root(orthogonal(3), **options)
