"""The paper's rule: one coefficient a step, which minimises the sketched norm of the next residual.

    α = argmin ‖S h(R; α)‖_F²,  α in [c_d, UPPER[d]·c_d],  h(r; α) = 1 - (1 - r) g(r; α)^p

With δ = α - c_d, h = Σ_k δ^k w_k(r) and the loss is a polynomial of degree 2p in δ, whose coefficients are
sums of the inner products ⟨S w_i(R), S w_j(R)⟩. All constants are Python numbers: a constant tensor would
not survive the decomposition of an exported op. Source: arXiv 2601.22137, Part II.

S holds random signs from a counter-based generator that lives inside the graph.

A hash of an `arange` depends on nothing but its arguments: eager, compiled and exported runs agree,
torch's generator is not touched, and Inductor fuses the whole thing into one kernel.
Hash: the two-round 32-bit mixer of C. Wellons' "hash prospector" search.
"""

from fractions import Fraction
from math import comb
from typing import Any

import torch
from torch import Tensor

from .._iteration import labels
from .._iteration.basis import Basis, Coefficients
from .._iteration.linear_algebra import plus_product, real_entries
from .._iteration.newton import horner, refined
from .._iteration.precision import accumulation_dtype
from .._iteration.rule import Rule, StepInfo
from .._torch import parts_of, traced_constant, unbound
from .taylor import Polynomial, completed, taylor_coefficients, taylor_polynomial

# The fitted coefficient is sought in [c_d, UPPER[d] * c_d]. For p = 2 these are the paper's intervals
# [1/2, 1] and [3/8, 29/20].
UPPER = {1: Fraction(2), 2: Fraction(58, 15)}
_GRID = 32
_MASK = 2**32 - 1
_STEPS_PER_HASH = 32


@traced_constant
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


@traced_constant
def residual_rows(p: int, degree: int) -> tuple[tuple[float, ...], ...]:
    """`residual_map` in floating point."""
    return tuple(tuple(map(float, row)) for row in residual_map(p, degree))


def _combination(row: tuple[float, ...], blocks: list[Tensor]) -> Tensor:
    """Σ_j row[j] blocks[j], skipping zeros."""
    terms = [(c, block) for c, block in zip(row, blocks) if c]
    total = terms[0][0] * terms[0][1]
    for c, block in terms[1:]:
        total = torch.add(total, block, alpha=c)
    return total


def loss_polynomial(blocks: list[Tensor], p: int, degree: int) -> list[Tensor]:
    """Half the loss but for its constant: coefficients of δ to δ^2p, each `[b, 1, 1]`; blocks `[b, q, n]`.

    The inner products are sums, not matrix products: Inductor makes one kernel of all of them.
    """
    powers = [real_entries(block).to(accumulation_dtype(block.dtype)) for block in blocks]
    responses = [_combination(row, powers) for row in residual_rows(p, degree)]
    with labels.phase("moments"):
        coefficients = []
        for order in range(1, 2 * p + 1):
            term = None
            for i in range(max(0, order - p), (order + 1) // 2):
                product = responses[i], responses[order - i]
                term = torch.mul(*product) if term is None else torch.addcmul(term, *product)
            if order % 2 == 0:
                half = responses[order // 2] * 0.5
                square = half, responses[order // 2]
                term = torch.mul(*square) if term is None else torch.addcmul(term, *square)
            assert term is not None
            coefficients.append(term.sum(dim=(-2, -1), keepdim=True))
    return coefficients


def minimise_on_interval(loss: list[Tensor], width: float) -> Tensor:
    """Minimiser in [0, width] of polynomials without constant, coefficients `[b, 1, 1]`, lowest first.

    A grid finds the right valley and Newton steps, held inside its cell, find its floor: near
    convergence the loss is a parabola, for which one Newton step is exact. A loss that is flat because
    the moments underflowed, or that overflowed, gives 0: the classical step.
    """
    dtype, device = loss[0].dtype, loss[0].device
    cell = width / _GRID
    grid = torch.arange(_GRID + 1, device=device, dtype=dtype) * cell
    x = (horner(loss, grid)[0] * grid).argmin(dim=-1, keepdim=True).to(dtype) * cell
    lower, upper = (x - cell).clamp(min=0), (x + cell).clamp(max=width)
    return refined(loss, x, lower, upper).nan_to_num(nan=0.0)


def fit_coefficient(blocks: list[Tensor], p: int, degree: int) -> Tensor:
    """The fitted α of each matrix, `[b, 1, 1]`, from its degree·p + 2 Krylov blocks `[b, q, n]`."""
    taylor = taylor_coefficients(p, degree)[degree]
    shift = minimise_on_interval(loss_polynomial(blocks, p, degree), free_width(p, degree))
    return taylor + shift


def krylov_blocks(basis: Basis, above: Tensor, below: Tensor, count: int) -> list[Tensor]:
    """S Rʲ for j < count, each `[b, q, n]`; above, below: [S; 0] and [0; S], `[2q, n]`.

    The pair [S; S R] is one product that adds the first to the second times R. Where R² is formed, further
    pairs are products with it. S is real, also for complex matrices; rows are sketched, not columns, so that
    the blocks of one matrix lie end to end in memory, and ‖S h(R)‖ estimates ‖h(R)‖_F whether or not R is
    symmetric or Hermitian.
    """
    R, squared = basis.residual, basis.squared
    q, shape = above.shape[0] // 2, (R.shape[0], -1, -1)
    with labels.phase("sketch"):
        pair = plus_product(above.expand(shape), below.expand(shape), R)
        if squared is None:
            blocks = list(parts_of(pair, (q, q), 1))
            while len(blocks) < count:
                blocks.append(torch.bmm(blocks[-1], R))
            return blocks
        pairs = [pair]
        while 2 * len(pairs) < count:
            pairs.append(torch.bmm(pairs[-1], squared))
    return [block for pair in pairs for block in parts_of(pair, (q, q), 1)]


def mix32(x: Tensor) -> Tensor:
    """Mix int64 values holding 32-bit words; the multipliers are small enough to stay exact."""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & _MASK
    x = ((x ^ (x >> 15)) * 0x735A2D97) & _MASK
    return x ^ (x >> 15)


def hashed_words(n: int, sketch_size: int, block: int, seed: int, device: torch.device) -> Tensor:
    """32 random bits for each entry of a sketch, `[sketch_size, n]` int64."""
    key = (seed * 0x85EBCA77 + (seed >> 32) * 0x27D4EB2F + block * 0xC2B2AE3D) % 2**32
    # Inductor keeps arithmetic on an arange as one on indices, which have 32 bits on a GPU; an AND ends it.
    index = torch.arange(sketch_size * n, device=device) & _MASK
    words = mix32((index * 0x9E3779B1 + key) & _MASK)
    return words.reshape(sketch_size, n)


def sketches(
    n: int, sketch_size: int, steps: int, seed: int, dtype: torch.dtype, device: torch.device
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The sign sketches S of a run, one for each step, as [S; 0] and as [0; S], `[2·sketch_size, n]` each.

    Bit k of a hashed word serves step k, so that one hash lasts 32 steps. The zeros let one product give S
    and its image, see `krylov_blocks`; that they are made here, for all steps, spares a kernel a step.
    """
    signs = []
    for first in range(0, steps, _STEPS_PER_HASH):
        words = hashed_words(n, sketch_size, first // _STEPS_PER_HASH, seed, device)
        bits = torch.arange(min(_STEPS_PER_HASH, steps - first), device=device)[:, None, None]
        # `words >> bits` is another operator, which ONNX has not.
        signs.append(1 - 2 * (torch.bitwise_right_shift(words, bits) & 1))
    S = (signs[0] if len(signs) == 1 else torch.cat(signs)).to(dtype)
    # One tensor of rows 0, S, 0 holds both.
    rows = torch.nn.functional.pad(S, (0, 0, sketch_size, sketch_size))
    above = parts_of(rows, (sketch_size, 2 * sketch_size), 1)[1]
    return unbound(above), unbound(rows[:, : 2 * sketch_size])


class PrismRule(Rule):
    """One fitted coefficient."""

    def looks(self, info: StepInfo) -> bool:
        return True

    def free_count(self, info: StepInfo) -> int:
        return 1

    def prepare(self, info: StepInfo, residual: Tensor) -> Any:
        n, device = residual.shape[-1], residual.device
        with labels.phase("sketch"):
            return sketches(n, info.sketch_size, info.steps, info.seed, residual.dtype, device)

    def coefficients(self, info: StepInfo, basis: Basis, prepared: Any) -> Coefficients:
        above, below = prepared
        blocks = krylov_blocks(basis, above[info.step], below[info.step], info.degree * info.p + 2)
        return self.complete(info, fit_coefficient(blocks, info.p, info.degree))

    def complete(self, info: StepInfo, *free: Tensor) -> Coefficients:
        return completed(info, free[0])

    def growth(self, info: StepInfo) -> float:
        highest = taylor_coefficients(info.p, info.degree)[info.degree] + free_width(info.p, info.degree)
        return sum(map(float, completed(info, highest)))


PRISM = PrismRule("prism", "Yang et al., arXiv 2601.22137")
