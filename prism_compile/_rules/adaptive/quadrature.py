"""The spectrum of a residual as a quadrature rule: fixed nodes, and weights that a probe gives.

For x = 1 - r in [0, 1], r the eigenvalues of R, and B blocks of the probe,

    tr(S f(I - R) Sᵀ)/(nq) = Σ_i w_i f(x_i),      x_i = (1 - cos(i π/l))/2,      i = 0 … l = 2B - 2,

for polynomials f of degree ≤ l. For any other f it is the mean of the polynomial that agrees with f at the
nodes, among them 0 and 1, where the spectrum of a singular matrix and a converged one lie. The weights come
from moments of Chebyshev polynomials, which are at most one: no powers of R have to be subtracted from each
other, and half precision suffices. R is to be symmetric (Hermitian).
"""

from math import pi

import torch
from torch import Tensor

from ..._iteration import labels
from ..._iteration.constants import kept_tensor, small_tensor
from ..._iteration.linear_algebra import real_entries
from ..._iteration.precision import is_half
from ..._iteration.probe import Probe

# Of the basis whose Q gives T_2: with T = 2R - I, T_2 = 2T² - I = I + 8Q for Q = R² - R.
SHIFT = 1.0


def _recurrence(dtype: torch.dtype) -> tuple[float, float]:
    """c and d of the probe's blocks S, S R, and c V + d V Q of these.

    V T_2; in half precision V Q itself, for a sum would round what it leaves of V alike in every entry.
    """
    return (0.0, 1.0) if is_half(dtype) else (1.0, 8.0)


def _chebyshev_rows(count: int, dtype: torch.dtype) -> tuple[tuple[float, ...], ...]:
    """T_0 … T_(count-1) in terms of the blocks."""
    c, d = _recurrence(dtype)
    # T_2 = shift·I + factor·W for the W = c I + d Q that takes pairs to pairs.
    factor = 8 / d
    shift = 1 - factor * c

    def next_of(row: list[float], before: list[float]) -> list[float]:
        """2 T_2 row - before."""
        kept, raised = [*row, 0.0], [0.0, *row]
        before = [*before, *[0.0] * (len(kept) - len(before))]
        return [2 * (shift * x + factor * y) - z for x, y, z in zip(kept, raised, before)]

    half = count // 2
    # T_2j, and T_(2j+1) over T, by powers of W.
    even, odd = [[1.0], [shift, factor]], [[1.0], [2 * shift - 1, 2 * factor]]
    while len(even) < half:
        even.append(next_of(even[-1], even[-2]))
        odd.append(next_of(odd[-1], odd[-2]))
    rows = []
    for row, over_T in zip(even[:half], odd[:half]):
        padding = [0.0] * (half - len(row))
        rows.append(tuple(number for w in (*row[:half], *padding) for number in (w, 0.0)))
        # T = 2R - I
        rows.append(tuple(number for w in (*over_T[:half], *padding) for number in (-w, 2 * w)))
    return tuple(rows)


@kept_tensor
def chebyshev(count: int, matrix: torch.dtype, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`[1, count, count]`, takes the blocks of matrices of a dtype to S T_j."""
    return small_tensor(_chebyshev_rows(count, matrix), dtype, device)[None]


def moments_of(probe: Probe, to_chebyshev: Tensor, blocks: int) -> Tensor:
    """⟨S T_i, S T_j⟩, flat, `[b, B²]`: nq times what the quadrature is normalised to.

    Of complex blocks the real parts: R is Hermitian, so that the traces they estimate are real.
    """
    R = probe.basis.residual
    b = R.shape[0]
    pairs = [real_entries(pair) for pair in probe.pairs(blocks // 2, *_recurrence(R.dtype))]
    with labels.phase("moments"):
        # Sizes in full: -1 has no meaning in an empty batch.
        length = pairs[0].shape[1] // 2 * pairs[0].shape[2]
        Z = torch.cat([pair.reshape(b, 2, length) for pair in pairs], dim=1).to(to_chebyshev.dtype)
        V = torch.bmm(to_chebyshev.expand(b, -1, -1), Z)
        return torch.bmm(V, V.transpose(1, 2)).reshape(b, blocks * blocks)


def nodes(blocks: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """x_i, `[l + 1]`."""
    last = 2 * blocks - 2
    return 0.5 - 0.5 * torch.cos(torch.arange(last + 1, dtype=dtype, device=device) * (pi / last))


def weights_from_moments(blocks: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix `[B², l + 1]` that takes moments to the weights of the nodes.

    With m = B - 1, ⟨T_j⟩ = ⟨T_0 T_j⟩ for j ≤ m and ⟨T_(m+j)⟩ = 2⟨T_m T_j⟩ - ⟨T_(m-j)⟩.
    """
    last, middle = 2 * blocks - 2, blocks - 1
    index = torch.arange(blocks * blocks, dtype=dtype, device=device)
    i, j, degree = index[:, None] // blocks, index[:, None] % blocks, index[: last + 1]

    def where(condition: Tensor) -> Tensor:
        return condition.to(dtype)

    low = where(degree == j) - where((degree == last - j) & (j < middle))
    moments = where(i == 0) * low + 2 * where((i == middle) & (j > 0) & (degree == middle + j))
    # T = 2R - I = 1 - 2x at x_i is cos(i π/l); the ends count half, of the nodes and of the degrees.
    ends = 1 - 0.5 * where((degree == 0) | (degree == last))
    values = torch.cos(degree[:, None] * degree * (pi / last)) * ends * ends[:, None] * (2 / last)
    # A product, for Inductor keeps its operands and result in memory and would compute all else at each use.
    return torch.mm(moments, values)
