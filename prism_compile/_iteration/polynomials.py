"""The scalar polynomials of the iteration: Taylor coefficients, and the residual map a step applies.

Everything here is rational arithmetic on Python numbers, done while tracing, so that a graph holds only the
finished constants. Source: arXiv 2601.22137, Part I.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import cache, wraps
from math import comb

import torch

Polynomial = tuple[Fraction, ...]

# The fitted coefficient is sought in [c_d, UPPER[d] * c_d]. For p = 2 these are the paper's intervals
# [1/2, 1] and [3/8, 29/20].
UPPER = {1: Fraction(2), 2: Fraction(58, 15)}


def _constant(function: Callable) -> Callable:
    """Cache a function, and have Dynamo call it while tracing instead of tracing its arithmetic."""
    cached = cache(function)

    # Dynamo looks through a cache object; it needs a plain function to mark.
    @torch.compiler.assume_constant_result
    @wraps(function)
    def call(p: int, degree: int):
        return cached(p, degree)

    return call


def taylor_polynomial(p: int, degree: int) -> Polynomial:
    """Coefficients c_0 … c_degree of (1 - x)^(-1/p)."""
    coefficients = [Fraction(1)]
    for j in range(1, degree + 1):
        coefficients.append(coefficients[-1] * (Fraction(1, p) + j - 1) / j)
    return tuple(coefficients)


@_constant
def taylor_coefficients(p: int, degree: int) -> tuple[float, ...]:
    """`taylor_polynomial` in floating point."""
    return tuple(map(float, taylor_polynomial(p, degree)))


@_constant
def free_width(p: int, degree: int) -> float:
    """Length of the interval that the fitted coefficient is sought in."""
    return float((UPPER[degree] - 1) * taylor_polynomial(p, degree)[degree])


def multiply(a: Polynomial, b: Polynomial) -> Polynomial:
    product = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            product[i + j] += x * y
    return tuple(product)


def power(a: Polynomial, exponent: int) -> Polynomial:
    result: Polynomial = (Fraction(1),)
    for _ in range(exponent):
        result = multiply(result, a)
    return result


def residual_map(p: int, degree: int) -> tuple[Polynomial, ...]:
    """Polynomials w_0 … w_p in r with h(r; c_d + δ) = Σ_k δ^k w_k(r).

    h(r; α) = 1 - (1 - r) g(r; α)^p is the residual after a step with the polynomial
    g(r; α) = Σ_{j<d} c_j r^j + α r^d. Expanding about the Taylor coefficient makes the vanishing low
    powers of r exact zeros, so nothing cancels in floating point near convergence.
    Each w_k has degree·p + 2 coefficients.
    """
    taylor = taylor_polynomial(p, degree)
    length = degree * p + 2
    rows = []
    for k in range(p + 1):
        row = [Fraction(0)] * (degree * k)
        row += multiply((Fraction(-1), Fraction(1)), power(taylor, p - k))
        row = [comb(p, k) * x for x in row] + [Fraction(0)] * (length - len(row))
        if k == 0:
            row[0] += 1
        rows.append(tuple(row))
    return tuple(rows)


@_constant
def residual_rows(p: int, degree: int) -> tuple[tuple[float, ...], ...]:
    """`residual_map` in floating point."""
    return tuple(tuple(map(float, row)) for row in residual_map(p, degree))
