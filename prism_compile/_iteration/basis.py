"""What a step's polynomial is written in, and the polynomial.

g(R) = g0 I + g1 R + g2 R²
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .linear_algebra import plus_product


class Coefficients(NamedTuple):
    """g0, g1, g2; each a number or a `[b, 1, 1]` tensor. g2 is 0 for degree 1."""

    g0: float | Tensor
    g1: float | Tensor
    g2: float | Tensor


class Basis(NamedTuple):
    """I `[n, n]`, R `[b, n, n]` and R², which is None where no product has formed it."""

    identity: Tensor
    residual: Tensor
    squared: Tensor | None


def quadratic_of(R: Tensor, linear: float, square: float = 1) -> Tensor:
    """linear·R + square·R², one product."""
    if linear == 0 and square == 1:
        return torch.bmm(R, R)
    return plus_product(R, R, R, linear, square)


class Polynomial(NamedTuple):
    """g(R) = base·I + W of a step; base is a number."""

    step: int
    identity: Tensor
    residual: Tensor
    base: float
    W: Tensor

    def matrix(self) -> Tensor:
        """g(R) itself."""
        # Not `torch.add(…, alpha=base)`: the identity has no tangent, and forward mode puts a lazy zero times
        # alpha into the graph, which Inductor's code reads as memory that is not there.
        return self.W + self.base * self.identity

    def times(self, X: Tensor) -> Tensor:
        """g(R) X."""
        return plus_product(X, self.W, X, self.base)

    def after(self, X: Tensor) -> Tensor:
        """X g(R)."""
        return plus_product(X, X, self.W, self.base)


class Mixture(NamedTuple):
    """A step's (1 - α) X + α X⁻¹, or of what else a form inverts.

    identity `[n, n]`; alpha `[b, 1, 1]`; inverse `[b, n, n]`: over its magnitude, which is part of `taken`.
    """

    identity: Tensor
    alpha: Tensor
    taken: Tensor
    inverse: Tensor

    def of(self, X: Tensor) -> Tensor:
        """The mixture of X with its inverse."""
        return (1 - self.alpha) * X + self.taken * self.inverse


def _sum(terms: list[tuple[float | Tensor, Tensor]]) -> Tensor:
    """Σ a_i A_i in as few passes over the matrices as there are; tensors a_i are at least float32."""
    (a, A), *rest = terms
    total = a * A
    for a, A in rest:
        total = total + a * A if isinstance(a, Tensor) else torch.add(total, A, alpha=a)
    return total


def polynomial_of(step: int, basis: Basis, coefficients: Coefficients) -> Polynomial:
    """The polynomial of a step, with its matrix W formed."""
    identity, R, squared = basis
    g0, g1, g2 = coefficients
    if squared is None and not (isinstance(g0, Tensor) or isinstance(g1, Tensor) or isinstance(g2, Tensor)):
        # One product without a pass over R², and rounded once.
        W = quadratic_of(R, g1, g2) if g2 else g1 * R
        return Polynomial(step, identity, R, g0, W)
    terms = [(g1, R)] + ([] if squared is None else [(g2, squared)])
    if isinstance(g0, Tensor):
        # g(R) in one matrix would round away what it has beside I near convergence.
        terms.append((g0 - 1, identity))
        g0 = 1.0
    return Polynomial(step, identity, R, g0, _sum(terms).to(R.dtype))
