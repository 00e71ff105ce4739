"""The parts of the iteration, each alone: polynomials, sketch, Krylov blocks, fit, scaling, rules, loop."""

import math

import numpy as np
import pytest
import torch

from prism_compile._iteration import fit, krylov, polynomials, scaling, sketch
from prism_compile._iteration.rules import RULES, Coefficients, StepInfo
from prism_compile._options import Options, options_for

from .matrices import F64, gaussian, log_spaced, spd, with_eigenvalues, with_singular_values

CPU = torch.device("cpu")
ORDERS = [(p, degree) for p in (1, 2, 3, 4) for degree in (1, 2)]


def next_residual(r: np.ndarray, alpha: float, p: int, degree: int) -> np.ndarray:
    """h(r; α) = 1 - (1 - r) g(r; α)^p, written out."""
    g = 1 + alpha * r if degree == 1 else 1 + r / p + alpha * r**2
    return 1 - (1 - r) * g**p


class TestPolynomials:
    def test_taylor_coefficients(self):
        assert polynomials.taylor_coefficients(2, 2) == (1, 0.5, 0.375)
        assert polynomials.taylor_coefficients(4, 2) == (1, 0.25, 0.15625)
        assert polynomials.taylor_coefficients(1, 2) == (1, 1, 1)

    def test_upper_ends_are_the_papers(self):
        assert float(polynomials.UPPER[1]) * 0.5 == 1
        assert float(polynomials.UPPER[2]) * 0.375 == pytest.approx(29 / 20)

    @pytest.mark.parametrize(("p", "degree"), ORDERS)
    def test_residual_map(self, p, degree):
        r = np.linspace(-0.5, 1, 13)
        taylor = polynomials.taylor_coefficients(p, degree)[degree]
        for delta in (0.0, 0.3, 1.0):
            rows = polynomials.residual_map(p, degree)
            value = sum(
                delta**k * sum(float(c) * r**j for j, c in enumerate(row)) for k, row in enumerate(rows)
            )
            np.testing.assert_allclose(value, next_residual(r, taylor + delta, p, degree), atol=1e-12)

    @pytest.mark.parametrize(("p", "degree"), ORDERS)
    def test_classical_step_has_exact_order(self, p, degree):
        low = polynomials.residual_map(p, degree)[0][: degree + 1]
        assert all(c == 0 for c in low)


class TestSketch:
    def test_entries_are_signs(self):
        (S,) = sketch.sketches(50, 8, 1, 0, torch.float32, CPU)
        assert S.shape == (8, 50)
        assert ((S == 1) | (S == -1)).all()

    def test_depends_on_seed_and_step_only(self):
        def draw(seed, step):
            return sketch.sketches(40, 4, step + 1, seed, F64, CPU)[step]

        assert torch.equal(draw(3, 5), draw(3, 5))
        # 160 independent signs agree by chance in 80 ± 6.3 places: five deviations.
        for other in (draw(4, 5), draw(3, 6), draw(3, 37), draw(2**40 + 3, 5)):
            assert abs(int((draw(3, 5) == other).sum()) - 80) < 32

    def test_signs_are_balanced_and_uncorrelated(self):
        # N(0, 1) statistics: means of 2e5 signs, and 7·64 correlations over 400 columns.
        stack = torch.stack(sketch.sketches(400, 64, 8, 1, F64, CPU))
        assert abs(stack.mean().item()) * math.sqrt(stack.numel()) < 5
        across = (stack[:-1] * stack[1:]).mean(dim=-1) * math.sqrt(400)
        assert across.abs().max() < 5
        within = stack[0] @ stack[0].T / 400 - torch.eye(64, dtype=F64)
        assert within.abs().max() * math.sqrt(400) < 5

    def test_leaves_torchs_generator_alone(self):
        before = torch.get_rng_state()
        sketch.sketches(40, 4, 2, 0, F64, CPU)
        assert torch.equal(before, torch.get_rng_state())

    def test_mixer_is_a_bijection_on_words(self):
        words = torch.arange(2**16) * 65537 % 2**32
        mixed = sketch.mix32(words)
        assert mixed.unique().numel() == words.numel()
        assert mixed.min() >= 0
        assert mixed.max() < 2**32


class TestKrylov:
    @pytest.mark.parametrize("count", [3, 4, 5, 6, 7])
    def test_blocks_with_and_without_the_square(self, count):
        R = gaussian(2, 10, 10) / 10
        S = gaussian(3, 10, seed=1)
        for square in (None, R @ R):
            blocks = krylov.krylov_blocks(S, R, square, count)
            assert len(blocks) == count
            for j, block in enumerate(blocks):
                torch.testing.assert_close(block, (S @ torch.linalg.matrix_power(R, j)))

    def test_inner_products_estimate_traces(self):
        R = spd(60, 10.0)[None]
        (S,) = sketch.sketches(60, 4096, 1, 0, F64, CPU)
        blocks = krylov.krylov_blocks(S, R, None, 3)
        for i in range(3):
            for j in range(3):
                exact = torch.linalg.matrix_power(R[0], i + j).trace()
                # Standard deviation of a sign estimate is under √(2/q)·‖B‖_F.
                assert (blocks[i] * blocks[j]).sum() / 4096 == pytest.approx(exact.item(), rel=0.05)


def scalar_blocks(r: np.ndarray, p: int, degree: int) -> list[torch.Tensor]:
    """The Krylov blocks of diag(r) under a sketch of ones, whose moments are the exact traces."""
    return [torch.from_numpy(r**j)[None, None] for j in range(degree * p + 2)]


class TestFit:
    @pytest.mark.parametrize(("p", "degree"), ORDERS)
    @pytest.mark.parametrize("low", [-0.2, 0.0, 0.3, 0.9])
    def test_is_the_minimiser_on_the_interval(self, p, degree, low):
        r = np.linspace(low, 0.99, 50)
        taylor = polynomials.taylor_coefficients(p, degree)[degree]
        width = polynomials.free_width(p, degree)
        alphas = taylor + np.linspace(0, width, 20001)
        losses = [np.sum(next_residual(r, a, p, degree) ** 2) for a in alphas]
        fitted = fit.fit_coefficient(scalar_blocks(r, p, degree), p, degree).item()
        assert np.sum(next_residual(r, fitted, p, degree) ** 2) <= min(losses) * (1 + 1e-6)
        assert fitted == pytest.approx(alphas[int(np.argmin(losses))], abs=2e-4)
        assert fit.fit_scalar(list(r), p, degree) == pytest.approx(fitted, abs=2e-3)

    @pytest.mark.parametrize(("p", "degree"), ORDERS)
    def test_zero_residual_gives_the_classical_step_exactly(self, p, degree):
        blocks = [torch.ones(1, 1, 100), *(torch.zeros(1, 1, 100) for _ in range(degree * p + 1))]
        expected = polynomials.taylor_coefficients(p, degree)[degree]
        assert fit.fit_coefficient(blocks, p, degree).item() == pytest.approx(expected, rel=1e-7)

    @pytest.mark.parametrize("size", [1e-3, 1e-5, 1e-8, 1e-12, 1e-20, 1e-38])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_tends_to_the_classical_step(self, size, dtype):
        blocks = [block.to(dtype) for block in scalar_blocks(np.linspace(size / 2, size, 9), 2, 2)]
        alpha = fit.fit_coefficient(blocks, 2, 2).item()
        assert abs(alpha - 0.375) < 2 * size + 1e-7

    def test_residual_near_one_gives_the_upper_end(self):
        blocks = scalar_blocks(np.full(9, 0.9999), 2, 2)
        assert fit.fit_coefficient(blocks, 2, 2).item() == pytest.approx(29 / 20)

    def test_overflow_gives_the_classical_step(self):
        for bad in (torch.inf, torch.nan):
            blocks = [torch.full((1, 1, 6), bad)] * 6
            assert fit.fit_coefficient(blocks, 2, 2).item() == 0.375

    def test_half_precision_moments_are_float32(self):
        # δ² of the loss is Σ r⁸ + …: 40 000 terms of one overflow float16 and stall in bfloat16.
        for dtype in (torch.float16, torch.bfloat16):
            blocks = [torch.ones(1, 1, 40_000, dtype=dtype)] * 4
            exact = fit.loss_polynomial([block.double() for block in blocks], 2, 1)
            for coefficient, value in zip(fit.loss_polynomial(blocks, 2, 1), exact):
                assert coefficient.dtype == torch.float32
                assert coefficient.item() == value.item()

    def test_two_valleys(self):
        # (x - 0.2)² (x - 0.8)² - 0.01 x: the deeper valley is the right one.
        x = np.polynomial.Polynomial
        loss = x([-0.2, 1]) ** 2 * x([-0.8, 1]) ** 2 - x([0, 0.01])
        coefficients = [torch.tensor([[[c]]], dtype=F64) for c in loss.coef[1:]]
        found = fit.minimise_on_interval(coefficients, 1.0).item()
        assert 0.8 < found < 0.83
        assert abs(loss.deriv()(found)) < 1e-8


def options(rule: str, scaling: str, degree: int) -> Options:
    return options_for(2, 5, degree, rule, scaling, 8, 0, "unrolled", False)


class TestScaling:
    @pytest.mark.parametrize("value", [1e-45, 3e-39, 1e-30, 0.3, 1.0, 5.0, 3e38])
    def test_magnitude_is_a_power_of_two_below_the_largest_entry(self, value):
        A = torch.tensor([[[value, 0.0], [-value / 2, 0.0]]])
        scale = scaling.magnitude(A).item()
        assert math.frexp(scale)[0] == 0.5
        assert scale <= A.max().item() < 2 * scale * (1 + 1e-6)

    def test_magnitude_of_zero_is_zero(self):
        assert (scaling.magnitude(torch.zeros(2, 3, 3)) == 0).all()

    def test_schatten_bound_holds_and_is_tighter(self):
        for M in (spd(30, 10.0), with_eigenvalues(torch.ones(30, dtype=F64)), torch.ones(4, 4, dtype=F64)):
            top = torch.linalg.matrix_norm(M, 2).item()
            trace = M.trace()[None, None, None]
            start = scaling.scale_spectrum(M[None], options("taylor", "schatten", 2), trace)
            assert top <= start.bound.item() <= trace.item() * (1 + 1e-14)
            residual = torch.eye(len(M), dtype=F64) - M / start.bound
            torch.testing.assert_close(start.residual, residual)
            torch.testing.assert_close(start.square, residual @ residual)

    def test_frobenius_uses_the_given_bound_and_margin(self):
        M = spd(10, 10.0)[None]
        bound = torch.tensor([[[2.0]]])
        start = scaling.scale_spectrum(M, options("taylor", "frobenius", 1), bound)
        assert start.bound.item() == pytest.approx(2.0)
        assert start.square is None
        start = scaling.scale_spectrum(M, options("polar_express", "frobenius", 2), bound)
        assert start.bound.item() == pytest.approx(2.0 * 1.01**2)


class TestRules:
    def test_table_rules_are_the_published_quintics(self):
        # Source: torch.optim.Muon's defaults; J. You; Polar Express, rows 1 and 8 (safety 1.01).
        for name, step, (a, b, c) in (
            ("jordan", 3, (3.4445, -4.7750, 2.0315)),
            ("you", 0, (4.0848, -6.8946, 2.9270)),
            ("you", 9, (2.8366, -3.0525, 1.2012)),
            (
                "polar_express",
                0,
                (8.28721201814563 / 1.01, -23.595886519098837 / 1.01**3, 17.3003873125 / 1.01**5),
            ),
            ("polar_express", 7, (1.875, -1.25, 0.375)),
        ):
            g0, g1, g2 = RULES[name].complete(StepInfo(step, 10, 2, 2))
            x = np.linspace(0, 1.1, 7)
            r = 1 - x**2
            np.testing.assert_allclose(x * (g0 + g1 * r + g2 * r**2), a * x + b * x**3 + c * x**5, atol=1e-8)

    def test_peers_keep_their_own_scaling(self):
        for name in ("polar_express", "jordan", "you"):
            assert RULES[name].scaling == "frobenius"
        assert RULES["polar_express"].margin == 1.01

    @pytest.mark.parametrize(("p", "degree"), ORDERS)
    def test_prism_gives_a_tensor_per_matrix(self, p, degree):
        info = StepInfo(0, 5, p, degree)
        count = RULES["prism"].krylov_count(p, degree)
        R = with_eigenvalues(log_spaced(12, 10.0))[None].expand(3, 12, 12)
        (S,) = sketch.sketches(12, 4, 1, 0, F64, CPU)
        fitted = RULES["prism"].fit(info, krylov.krylov_blocks(S, R, None, count))
        assert len(fitted) == RULES["prism"].fitted_count
        coefficients = RULES["prism"].complete(info, *fitted)
        assert coefficients.leading(degree).shape == (3, 1, 1)
        assert coefficients.g0 == 1

    def test_leading_coefficient(self):
        assert Coefficients(1.0, 2.0, 3.0).leading(1) == 2.0
        assert Coefficients(1.0, 2.0, 3.0).leading(2) == 3.0

    def test_published_polar_express_by_hand(self):
        from prism_compile import polar

        A = with_singular_values(log_spaced(20, 100.0), 30, 20)
        X = A / (A.norm() * 1.01)
        rows = [RULES["polar_express"].table[min(k, 7)] for k in range(9)]
        for a, b, c in rows:
            G = X.T @ X
            X = a * X + X @ (b * G + c * G @ G)
        torch.testing.assert_close(polar(A, rule="polar_express", steps=9), X, atol=1e-12, rtol=0)
