"""The paper's rule: the map of residuals, the fit on known spectra, and a coefficient for each matrix."""

import numpy as np
import pytest
import torch

from prism_compile import inv_sqrtm
from prism_compile._iteration.basis import Basis
from prism_compile._iteration.rule import StepInfo
from prism_compile._rules import RULES, prism
from prism_compile._rules.prism import sketches
from prism_compile._rules.taylor import taylor_coefficients

from ..matrices import F64, eigh_power, gaussian, log_spaced, relative_error, spd
from . import ORDERS


def next_residual(r: np.ndarray, alpha: float, p: int, degree: int) -> np.ndarray:
    """h(r; α) = 1 - (1 - r) g(r; α)^p, written out."""
    g = 1 + alpha * r if degree == 1 else 1 + r / p + alpha * r**2
    return 1 - (1 - r) * g**p


def scalar_blocks(r: np.ndarray, p: int, degree: int) -> list[torch.Tensor]:
    """The Krylov blocks of diag(r) under a sketch of ones, whose moments are the exact traces."""
    return [torch.from_numpy(r**j)[None, None] for j in range(degree * p + 2)]


class TestResidualMap:
    def test_upper_ends_are_the_papers(self):
        assert float(prism.UPPER[1]) * 0.5 == 1
        assert float(prism.UPPER[2]) * 0.375 == pytest.approx(29 / 20)

    @pytest.mark.parametrize(("p", "degree"), ORDERS)
    def test_residual_map(self, p, degree):
        r = np.linspace(-0.5, 1, 13)
        taylor = taylor_coefficients(p, degree)[degree]
        for delta in (0.0, 0.3, 1.0):
            rows = prism.residual_map(p, degree)
            value = sum(
                delta**k * sum(float(c) * r**j for j, c in enumerate(row)) for k, row in enumerate(rows)
            )
            np.testing.assert_allclose(value, next_residual(r, taylor + delta, p, degree), atol=1e-12)

    @pytest.mark.parametrize(("p", "degree"), ORDERS)
    def test_classical_step_has_exact_order(self, p, degree):
        low = prism.residual_map(p, degree)[0][: degree + 1]
        assert all(c == 0 for c in low)


class TestFit:
    @pytest.mark.parametrize(("p", "degree"), ORDERS)
    @pytest.mark.parametrize("low", [-0.2, 0.0, 0.3, 0.9])
    def test_is_the_minimiser_on_the_interval(self, p, degree, low):
        r = np.linspace(low, 0.99, 50)
        taylor = taylor_coefficients(p, degree)[degree]
        width = prism.free_width(p, degree)
        alphas = taylor + np.linspace(0, width, 20001)
        losses = [np.sum(next_residual(r, a, p, degree) ** 2) for a in alphas]
        fitted = prism.fit_coefficient(scalar_blocks(r, p, degree), p, degree).item()
        assert np.sum(next_residual(r, fitted, p, degree) ** 2) <= min(losses) * (1 + 1e-6)
        assert fitted == pytest.approx(alphas[int(np.argmin(losses))], abs=2e-4)

    @pytest.mark.parametrize(("p", "degree"), ORDERS)
    def test_zero_residual_gives_the_classical_step_exactly(self, p, degree):
        blocks = [torch.ones(1, 1, 100), *(torch.zeros(1, 1, 100) for _ in range(degree * p + 1))]
        expected = taylor_coefficients(p, degree)[degree]
        assert prism.fit_coefficient(blocks, p, degree).item() == pytest.approx(expected, rel=1e-7)

    @pytest.mark.parametrize("size", [1e-3, 1e-5, 1e-8, 1e-12, 1e-20, 1e-38])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_tends_to_the_classical_step(self, size, dtype):
        blocks = [block.to(dtype) for block in scalar_blocks(np.linspace(size / 2, size, 9), 2, 2)]
        alpha = prism.fit_coefficient(blocks, 2, 2).item()
        assert abs(alpha - 0.375) < 2 * size + 1e-7

    def test_residual_near_one_gives_the_upper_end(self):
        blocks = scalar_blocks(np.full(9, 0.9999), 2, 2)
        assert prism.fit_coefficient(blocks, 2, 2).item() == pytest.approx(29 / 20)

    def test_overflow_gives_the_classical_step(self):
        for bad in (torch.inf, torch.nan):
            blocks = [torch.full((1, 1, 6), bad)] * 6
            assert prism.fit_coefficient(blocks, 2, 2).item() == 0.375

    def test_half_precision_moments_are_float32(self):
        # δ² of the loss is Σ r⁸ + …: 40 000 terms of one overflow float16 and stall in bfloat16.
        for dtype in (torch.float16, torch.bfloat16):
            blocks = [torch.ones(1, 1, 40_000, dtype=dtype)] * 4
            exact = prism.loss_polynomial([block.double() for block in blocks], 2, 1)
            for coefficient, value in zip(prism.loss_polynomial(blocks, 2, 1), exact):
                assert coefficient.dtype == torch.float32
                assert coefficient.item() == value.item()

    def test_two_valleys(self):
        # (x - 0.2)² (x - 0.8)² - 0.01 x: the deeper valley is the right one.
        x = np.polynomial.Polynomial
        loss = x([-0.2, 1]) ** 2 * x([-0.8, 1]) ** 2 - x([0, 0.01])
        coefficients = [torch.tensor([[[c]]], dtype=F64) for c in loss.coef[1:]]
        found = prism.minimise_on_interval(coefficients, 1.0).item()
        assert 0.8 < found < 0.83
        assert abs(loss.deriv()(found)) < 1e-8


class TestRule:
    @pytest.mark.parametrize(("p", "degree"), ORDERS)
    def test_fits_each_matrix_by_its_sketch(self, p, degree):
        """Of a diagonal matrix a sketch of signs has the exact moments, whatever its size."""
        rule, info = RULES["prism"], StepInfo(0, 5, p, degree, F64, sketch_size=2)
        spectra = [log_spaced(12, 10.0), log_spaced(12, 1e4), torch.linspace(0.2, 1, 12, dtype=F64)]
        R = torch.stack([torch.diag(1 - values) for values in spectra])
        basis = Basis(torch.eye(12, dtype=F64), R, R @ R if degree == 2 else None)
        chosen = rule.coefficients(info, basis, rule.prepare(info, R))
        assert chosen.g0 == 1
        assert chosen[degree].shape == (3, 1, 1)
        exact = [prism.fit_coefficient(scalar_blocks(1 - v.numpy(), p, degree), p, degree) for v in spectra]
        torch.testing.assert_close(chosen[degree], torch.cat(exact), rtol=0, atol=1e-9)


class TestKrylovBlocks:
    @pytest.mark.parametrize("count", range(3, 9))
    @pytest.mark.parametrize("formed", [False, True], ids=["R", "R²"])
    def test_are_the_sketch_times_powers(self, formed, count):
        R, q = gaussian(2, 10, 10) / 10, 3
        above, below = (side[0] for side in sketches(10, q, 1, 0, F64, R.device))
        basis = Basis(torch.eye(10, dtype=F64), R, R @ R if formed else None)
        blocks = prism.krylov_blocks(basis, above, below, count)
        assert len(blocks) >= count
        for power, block in enumerate(blocks):
            torch.testing.assert_close(block, above[:q] @ torch.linalg.matrix_power(R, power))

    def test_their_inner_products_estimate_traces(self):
        R = spd(60, 10.0)[None]
        above, below = (side[0] for side in sketches(60, 4096, 1, 0, F64, R.device))
        blocks = prism.krylov_blocks(Basis(torch.eye(60, dtype=F64), R, None), above, below, 3)
        for i in range(3):
            for j in range(3):
                exact = torch.linalg.matrix_power(R[0], i + j).trace().item()
                # The standard deviation of a sign estimate is under √(2/q)·‖B‖_F: five are 0.11 ‖B‖_F.
                assert (blocks[i] * blocks[j]).sum() / 4096 == pytest.approx(exact, rel=0.05)


class TestGrowth:
    @pytest.mark.parametrize(("p", "degree"), ORDERS)
    def test_its_growth_is_that_of_the_upper_end(self, p, degree):
        # The value at r = 1, where a singular value vanishes, of the steepest polynomial that it may choose.
        info = StepInfo(0, 5, p, degree, F64)
        blocks = scalar_blocks(np.full(9, 0.99999), p, degree)
        steepest = RULES["prism"].complete(info, prism.fit_coefficient(blocks, p, degree))
        assert RULES["prism"].growth(info) == pytest.approx(float(sum(steepest)), rel=1e-6)


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
