"""What `polar`, `sqrtm_pair` and `inv_root` compute with `rule="prism"`, in plain lines of numpy.

One real matrix, float64, Schatten scaling. Each step takes the polynomial g(R) = I + c₁ R + α R², or I + α R,
of the residual R, cⱼ the Taylor coefficients of (1 - r)^(-1/p), and fits α so that a sketch of the next
residual, ‖S (I - (I - R) g(R)^p)‖_F, is least (arXiv 2601.22137, Part II).
"""

from math import comb

import numpy
from numpy import ndarray
from numpy.linalg import matrix_power, norm

MASK = 2**32 - 1
# The interval of α goes up to so many times the Taylor coefficient.
WIDEST = {1: 2, 2: 58 / 15}


def signs(n: int, rows: int, step: int, seed: int) -> ndarray:
    """The random signs S `[rows, n]` of a step: bits of a hash of their place, 32 steps to a word."""
    key = seed * 0x85EBCA77 + (seed >> 32) * 0x27D4EB2F + (step // 32) * 0xC2B2AE3D
    S = numpy.empty(rows * n)
    for place in range(rows * n):
        word = (place * 0x9E3779B1 + key) & MASK
        word = ((word ^ (word >> 16)) * 0x21F0AAAD) & MASK
        word = ((word ^ (word >> 15)) * 0x735A2D97) & MASK
        word ^= word >> 15
        S[place] = 1 - 2 * ((word >> (step % 32)) & 1)
    return S.reshape(rows, n)


def fitted(R: ndarray, base: ndarray, S: ndarray, low: float, p: int, degree: int) -> float:
    """The α that leaves least of the sketched residual of base + α R^degree."""
    identity = numpy.eye(R.shape[-1])
    # With δ = α - low, t = base + low R^d: (t + δ R^d)^p = Σ comb(p, k) t^(p - k) δ^k R^(d k).
    t = base + low * matrix_power(R, degree)
    terms = [
        -comb(p, k) * S @ (identity - R) @ matrix_power(t, p - k) @ matrix_power(R, degree * k)
        for k in range(p + 1)
    ]
    terms[0] = terms[0] + S
    loss = numpy.polynomial.Polynomial(numpy.zeros(2 * p + 1))
    for j, left in enumerate(terms):
        for k, right in enumerate(terms):
            loss.coef[j + k] += numpy.sum(left * right)
    # Without the constant, beside which a small difference would be lost.
    loss.coef[0] = 0
    if not loss.coef.any():
        return low
    width = low * (WIDEST[degree] - 1)
    stationary = (loss / abs(loss.coef).max()).deriv().roots()
    inside = [x.real for x in stationary if abs(x.imag) < 1e-7 * (1 + abs(x.real)) and 0 < x.real < width]
    return low + min([0.0, width, *inside], key=loss)


def step_polynomial(R: ndarray, S: ndarray | None, p: int, degree: int = 2) -> tuple[ndarray, float]:
    """g(R) and its α, without a sketch the Taylor coefficient; of a stack of matrices one α."""
    c = [1, 1 / p, (1 / p) * (1 / p + 1) / 2]
    base = numpy.eye(R.shape[-1]) + (c[1] * R if degree == 2 else 0)
    alpha = c[degree] if S is None else fitted(R, base, S, c[degree], p, degree)
    return base + alpha * matrix_power(R, degree), alpha


def bound(M: ndarray) -> float:
    """ρ(M) ≤ ‖M²‖_F^(1/2) for a symmetric M."""
    return float(norm(M @ M) ** 0.5)


def sketched_step(R: ndarray, p: int, step: int, sketch_size: int, seed: int) -> tuple[ndarray, float]:
    return step_polynomial(R, signs(len(R), sketch_size, step, seed), p)


def polar(A: ndarray, steps: int, sketch_size: int = 8, seed: int = 0) -> tuple[ndarray, list[float]]:
    """The polar factor of a tall A, and the α of each step: X ← X g(I - XᵀX)."""
    X, chosen = A / bound(A.T @ A) ** 0.5, []
    for step in range(steps):
        g, alpha = sketched_step(numpy.eye(A.shape[1]) - X.T @ X, 2, step, sketch_size, seed)
        X = X @ g
        chosen.append(alpha)
    return X, chosen


def sqrtm_pair(
    A: ndarray, steps: int, sketch_size: int = 8, seed: int = 0
) -> tuple[ndarray, ndarray, list[float]]:
    """A^(1/2), A^(-1/2) and the α of each step: X ← X g, Y ← g Y, g = g(I - YX)."""
    c, chosen = bound(A), []
    X, Y = A / c, numpy.eye(len(A))
    for step in range(steps):
        g, alpha = sketched_step(numpy.eye(len(A)) - Y @ X, 2, step, sketch_size, seed)
        X, Y = X @ g, g @ Y
        chosen.append(alpha)
    return X * c**0.5, Y / c**0.5, chosen


def inv_root(
    A: ndarray, p: int, steps: int, sketch_size: int = 8, seed: int = 0
) -> tuple[ndarray, list[float]]:
    """A^(-1/p) and the α of each step: X ← X g, M ← g^p M, g = g(I - M)."""
    c, chosen = bound(A), []
    X, M = numpy.eye(len(A)), A / c
    for step in range(steps):
        g, alpha = sketched_step(numpy.eye(len(A)) - M, p, step, sketch_size, seed)
        X, M = X @ g, matrix_power(g, p) @ M
        chosen.append(alpha)
    return X / c ** (1 / p), chosen
