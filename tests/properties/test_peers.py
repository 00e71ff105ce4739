"""Matrices that other libraries' own tests are made of, where they are in the domain here.

Distributed Shampoo (matrix roots), scipy (polar, sqrtm, signm) and JAX (qdwh, sqrtm). Out of the domain are
scipy's square roots of matrices that are not Hermitian (triangular, defective, nilpotent, with eigenvalues of
opposite sign) and JAX's of general ones; fractional roots, as Distributed Shampoo's 1/20; pseudo-inverses;
integers; U of the matrix [[0]], which is [[1]] in scipy and 0 here; the sign of a singular matrix.
"""

import numpy
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
    spd,
    svd_polar,
    widest,
    with_singular_values,
)

EPS = torch.finfo(F64).eps


def rounding(n: int, condition: float = 1.0, dtype: torch.dtype = F64) -> float:
    """As in `cases`: ten roundings of sums of n terms, enlarged by a condition number."""
    return 10 * n**0.5 * torch.finfo(dtype).eps * condition


class TestDistributedShampoo:
    # det = 1: its inverse is of integers, too.
    ROOT = torch.tensor([[1.0, 1, 1], [1, 2, -3], [1, -3, 18]], dtype=F64)
    MATRIX = torch.tensor([[1195.0, -944, -224], [-944, 746, 177], [-224, 177, 42]], dtype=F64)

    @pytest.mark.parametrize("rule", ["adaptive", "prism", "taylor"])
    def test_inverse_roots_of_integers(self, rule):
        condition = torch.linalg.cond(self.MATRIX).item()
        assert 6e5 < condition < 7e5
        options = {"rule": rule, "steps": 24}
        bar = rounding(3, condition)
        assert relative_error(pc.inv_sqrtm(self.MATRIX, **options), self.ROOT) < bar
        assert relative_error(pc.inv_root(self.MATRIX, 2, **options), self.ROOT) < bar
        assert relative_error(pc.inv_root(self.MATRIX, 1, **options), self.ROOT @ self.ROOT) < bar
        A = torch.diag(torch.tensor([1.0, 4.0], dtype=F64))
        assert relative_error(pc.inv_sqrtm(A, **options), torch.linalg.inv(A).sqrt()) < rounding(2, 4)

    def test_in_float32_as_they_ask_it(self):
        """Within 1e-2, where a condition of 7e5 leaves a digit."""
        A = self.MATRIX.float()
        for result, root in ((pc.inv_sqrtm(A), self.ROOT), (pc.inv_root(A, 1), self.ROOT @ self.ROOT)):
            torch.testing.assert_close(result.double(), root, rtol=1e-2, atol=0.05)

    @pytest.mark.parametrize("kind", ["both ends", "one end"])
    @pytest.mark.parametrize("p", [1, 2, 4, 8])
    @pytest.mark.parametrize("n", [10, 100])
    def test_tridiagonal(self, n, p, kind):
        """α on the diagonal and β beside it, with β added at both ends, or taken away at one."""
        sizes = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
        made = [
            (alpha, torch.diag(torch.full((n,), alpha, dtype=F64)) + beside(n, beta, kind), beta)
            for alpha in sizes
            for beta in sizes
            if 2 * beta <= alpha
        ]
        A = torch.stack([M for _, M, _ in made])
        k = torch.arange(n, dtype=F64)
        angle = torch.pi * (k / n if kind == "both ends" else (k + 1) / (n + 0.5))
        values = torch.stack([alpha + 2 * beta * angle.cos() for alpha, _, beta in made])
        # The known eigenvalues are the matrices', so that the oracle is more than its own arithmetic.
        found = torch.linalg.eigvalsh(A)
        rounded = n * EPS * found.amax(-1, keepdim=True)
        assert ((values.sort(-1).values - found).abs() < rounded).all()
        condition = values.amax(-1) / values.amin(-1)
        X = pc.inv_root(A, p, steps=20)
        errors = torch.linalg.matrix_norm(X - eigh_power(A, -1 / p)) / torch.linalg.matrix_norm(X)
        # The dips of a table enlarge roundings: at p = 1, where no root is taken of that, 12 are measured.
        assert (errors < rounding(n) * condition * (2 if p == 1 else 1)).all()

    @pytest.mark.parametrize("p", [1, 2, 4, 8])
    def test_rank_deficient(self, p):
        A = torch.tensor([[2.0, 2.0], [2.0, 2.0]], dtype=F64)
        result, history = pc.inv_root(A, p, history=True)
        assert not result.isfinite().all() or not history.residual[-1] < 0.4

    @pytest.mark.parametrize("exponent", range(2, 7))
    def test_the_fourth_root_up_to_condition_1e6_in_float32(self, exponent):
        """Google's: log-spaced eigenvalues, n = 16, a residual below 0.1."""
        A = spd(16, 10.0**exponent, seed=exponent).float()
        X = pc.inv_root(A, 4, steps=14)
        # Of I - X²AX²: a history's is of the worse side, I - AX⁴ or I - X⁴A.
        squared = X.double() @ X.double()
        R = torch.eye(16) - squared @ A.double() @ squared
        assert torch.linalg.matrix_norm(R) / 4 < 0.1
        assert relative_error(X, eigh_power(A, -0.25)) < torch.finfo(torch.float32).eps * 10.0**exponent


def beside(n: int, beta: float, kind: str) -> torch.Tensor:
    off = torch.full((n - 1,), beta, dtype=F64)
    M = torch.diag(off, 1) + torch.diag(off, -1)
    M[0, 0] = beta if kind == "both ends" else -beta
    if kind == "both ends":
        M[-1, -1] = beta
    return M


SMALL = [
    [[1, 2], [3, 4]],
    [[1, 2, 3]],
    [[1], [2], [3]],
    [[1, 2, 3], [3, 4, 0]],
    [[1, 2], [3, 4], [5, 5]],
    [[1, 2], [3, 4 + 5j]],
    [[1, 2, 3j]],
    [[1], [2], [3j]],
    [[1, 2, 3 + 2j], [3, 4 - 1j, -4j]],
    [[1, 2], [3 - 2j, 4 + 0.5j], [5, 5]],
    [[10000, 10, 1], [-1, 2, 3j], [0, 1, 2]],
]


class TestScipy:
    @pytest.mark.parametrize("rows", SMALL, ids=str)
    @pytest.mark.parametrize("rule", ["adaptive", "prism"])
    def test_polar(self, rows, rule):
        A = torch.from_numpy(numpy.array(rows)).to(C128 if "j" in str(rows) else F64)
        for side in ("right", "left"):
            U, H = pc.polar_factors(A, side=side, rule=rule, steps=30)
            small = U.mH @ U if A.shape[0] >= A.shape[1] else U @ U.mH
            assert (small - torch.eye(len(small))).abs().max() < rounding(3)
            assert relative_error(U @ H if side == "right" else H @ U, A) < rounding(3)
            assert torch.equal(H, H.mH)
            assert torch.linalg.eigvalsh(H).min() > -rounding(3) * H.abs().max()

    @pytest.mark.parametrize("side", ["right", "left"])
    def test_polar_of_known_factors(self, side):
        diagonal, row = (
            torch.diag(torch.tensor([2.0, 3.0], dtype=F64)),
            torch.tensor([[1.0, 2, 2]], dtype=F64),
        )
        nine = torch.tensor([[9.0]], dtype=F64)
        known = [(nine, nine / 9, nine), (diagonal, torch.eye(2, dtype=F64), diagonal)]
        known.append((row, row / 3, row.T @ row / 3 if side == "right" else row.new_tensor([[3.0]])))
        for A, U, H in known:
            torch.testing.assert_close(
                tuple(pc.polar_factors(A, side=side)), (U, H), rtol=0, atol=rounding(3)
            )

    @pytest.mark.parametrize(
        ("rows", "root"),
        [
            ([[1, 0], [0, 1]], [[1, 0], [0, 1]]),
            # ((3 ± √5)/2)^(1/2) = (√5 ± 1)/2: the root of [[2, 1], [1, 1]] is that over √5.
            ([[2, 1], [1, 1]], [[3 / 5**0.5, 1 / 5**0.5], [1 / 5**0.5, 2 / 5**0.5]]),
            ([[1, 1], [1, 1]], [[0.5**0.5, 0.5**0.5], [0.5**0.5, 0.5**0.5]]),
            ([[1, 0, 0, 1], [0] * 4, [0] * 4, [1, 0, 0, 1]], None),
            ([[2, 0, 0], [0, 1, 0], [0, 0, 0]], [[2**0.5, 0, 0], [0, 1, 0], [0, 0, 0]]),
            ([[0, 0], [0, 0]], [[0, 0], [0, 0]]),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("rule", ["adaptive", "prism", "taylor"])
    def test_square_roots_some_of_singular_matrices(self, rows, root, rule):
        A = torch.tensor(rows, dtype=F64)
        exact = A * 0.5**0.5 if root is None else torch.tensor(root, dtype=F64)
        # Of a zero that rounding perturbs by ε the root is √ε; where the zeros are exact there is no such.
        found = pc.sqrtm(A, rule=rule, steps=10)
        assert (found - exact).abs().max() < (10 * EPS**0.5 if torch.linalg.det(A) == 0 else rounding(4, 7))
        if (rows[0], len(rows)) in (([2, 0, 0], 3), ([0, 0], 2)):
            assert (found - exact).abs().max() < rounding(3)

    def test_square_root_of_all_but_equal_entries(self):
        """0.94 beside ones: an eigenvalue 0.06 of multiplicity 18 beside 17.98."""
        A = torch.full((19, 19), 0.94, dtype=F64).fill_diagonal_(1.0)
        assert relative_error(pc.sqrtm(A), eigh_power(A, 0.5)) < rounding(19, 300**0.5)

    @pytest.mark.parametrize("options", [{}, {"rule": "taylor"}, {"newton_steps": 12}], ids=str)
    def test_sign_of_a_defective_matrix(self, options):
        """Of two Jordan blocks."""
        A = torch.zeros(4, 4, dtype=F64)
        for i, j in ((0, 1), (1, 0), (1, 2), (2, 3), (3, 2)):
            A[i, j] = 1
        # What commutes with A, squares to the identity, and has the same diagonal blocks.
        exact = A.clone()
        exact[0, 3], exact[1, 2] = -0.5, 0.5
        assert relative_error(exact @ A, A @ exact) == 0
        assert torch.equal(exact @ exact, torch.eye(4, dtype=F64))
        assert relative_error(pc.signm(A, **({"steps": 12} | options)), exact) < rounding(4, 10)


class TestJax:
    @pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex64, C128], ids=str)
    @pytest.mark.parametrize("shape", [(8, 6), (10, 10), (20, 18)])
    def test_upper_triangle_of_ones(self, shape, dtype):
        A = torch.triu(torch.ones(shape, dtype=dtype))
        self.check(A, 20, torch.linalg.cond(A).item())

    # Evenly spaced values, from one up to a share of what the dtype holds.
    @pytest.mark.parametrize("share", [0, 1 / 3, 2 / 3, 0.95])
    @pytest.mark.parametrize("dtype", [torch.float32, F64, C128], ids=str)
    @pytest.mark.parametrize("shape", [(8, 6), (20, 18), (100, 100)])
    def test_any_condition_number(self, shape, dtype, share):
        condition = torch.finfo(dtype).eps ** -share
        values = torch.linspace(condition, 1, min(shape), dtype=F64)
        A = with_singular_values(values, *shape, dtype=widest(dtype)).to(dtype)
        # From so far below each step raises the least value by at least 15/8.
        self.check(A, 70, condition)

    def check(self, A: torch.Tensor, steps: int, condition: float) -> None:
        n, dtype = min(A.shape), A.dtype
        for rule in ("adaptive", "prism"):
            U, H = pc.polar_factors(A, steps=steps, rule=rule)
            assert (U.mH @ U - torch.eye(n)).abs().max() < rounding(n, dtype=dtype)
            assert relative_error(U @ H, A.to(widest(dtype))) < rounding(n, dtype=dtype)
            assert torch.equal(H, H.mH)
            # The polar factor itself only as far as the condition number lets it be known.
            assert relative_error(U, svd_polar(A)) < rounding(n, condition, dtype)

    @pytest.mark.parametrize(("m", "n", "rank"), [(10, 10, 8), (8, 8, 7), (12, 8, 5)])
    @pytest.mark.parametrize("share", [0, 1 / 3])
    @pytest.mark.parametrize("dtype", [torch.float32, F64, C128], ids=str)
    def test_rank_deficient(self, m, n, rank, share, dtype):
        """U is orthogonal on A's row space, and wherever rounding has taken the rest, no longer than one."""
        wide = widest(dtype)
        W, _, Vh = torch.linalg.svd(torch.triu(torch.ones(m, n, dtype=wide)), full_matrices=False)
        values = log_spaced(n, torch.finfo(dtype).eps ** -share)
        values[rank:] = 0
        A = (W * values @ Vh).to(dtype)
        U, H = pc.polar_factors(A, steps=30, rule="prism")
        condition = (values[0] / values[rank - 1]).item()
        assert relative_error(U @ H, A.to(wide)) < rounding(n, dtype=dtype)
        UV = U.to(wide) @ Vh[:rank].mH
        assert (UV.mH @ UV - torch.eye(rank)).abs().max() < rounding(n, condition, dtype)
        assert torch.linalg.svdvals(U).max() < 1 + rounding(n, dtype=dtype)

    @pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex64, C128], ids=str)
    @pytest.mark.parametrize(("m", "n", "r", "c"), [(4, 3, 1, 1), (5, 2, 0, 0)])
    def test_one_entry_the_smallest_normal_number(self, m, n, r, c, dtype):
        A = torch.zeros(m, n, dtype=dtype)
        A[r, c] = torch.finfo(dtype).tiny
        U, H = pc.polar_factors(A)
        expected_U, expected_H = torch.zeros_like(A), A.new_zeros(n, n)
        expected_U[r, c], expected_H[c, c] = 1, torch.finfo(dtype).tiny
        torch.testing.assert_close(U, expected_U, rtol=rounding(1, dtype=dtype), atol=0)
        torch.testing.assert_close(H, expected_H, rtol=rounding(1, dtype=dtype), atol=0)

    @pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex64, C128], ids=str)
    @pytest.mark.parametrize("n", [4, 15, 50, 100])
    def test_square_root_of_a_squared_gaussian(self, n, dtype):
        """Square Gaussians of condition up to some n, here damped as far as the type asks for it."""
        G = gaussian(n, n, seed=n, dtype=widest(dtype))
        A = G @ G.mH
        A = A + 1e-4 * A.diagonal().real.mean() * torch.eye(n, dtype=A.dtype)
        root = pc.sqrtm(A.to(dtype), steps=14)
        assert relative_error(root, eigh_power(A, 0.5)) < rounding(n, (n * 1e4) ** 0.5, dtype)
        assert relative_error(root @ root, A) < rounding(n, (n * 1e4) ** 0.5, dtype)
