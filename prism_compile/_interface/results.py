"""The named tuples that the functions return."""

from typing import NamedTuple

from torch import Tensor

from .numbers import check_number


class History(NamedTuple):
    """How a run went, step by step; part of the graph's outputs, so reading it costs no sync.

    residual: `[..., steps + 1]`, the rms residual ‖R‖_F/√n at the start of each step (√(mean r²) over the
        residual's eigenvalues r; 0 is converged, 1 is where a zero matrix stays), and last that of the
        result as it is returned, measured against A itself, damping included: what a coupled run carries
        drifts from what it stands for, so that of the roots only the last entry is the truth about A.
    coefficient: `[..., steps]`, the leading coefficient α of each step's polynomial.
    coefficients: `[..., steps, 3]`, all of them: g0, g1, g2 of g0 I + g1 R + g2 R².
    asymmetry: `[...]`, relative to the norm, of what is symmetric at the end if all is well: H = UᵀA (UAᵀ if
        wide), which tells A's U from others with orthonormal columns; a root; for `signm` and `inv`, whose A
        need not be symmetric, the commutator instead, ‖AX - XA‖_F/‖AX‖_F.

    All are real: float32 for half-precision, float32 and complex64 input, else float64. NaN shows in them.
    What the last residual is of, and what it costs in products of n·n·n (m·n·n for the polar factor):

    | function             | last residual                                                    | products |
    |----------------------|------------------------------------------------------------------|----------|
    | polar, polar_factors | of I - UᵀU                                                       | 2        |
    | signm                | of I - S², or the shortfall of Re tr(AS) of ∣Re tr A∣ if larger  | 3        |
    | sqrtm                | ‖A - S²‖_F/‖A‖_F                                                 | 1        |
    | inv_sqrtm            | of I - AZ² or I - Z²A, the larger                                | 3        |
    | sqrtm_pair           | the larger of those two                                          | 4        |
    | inv_root             | the same of Xᵖ; ∞ for an odd p > 1 where X is not definite        | ≤ 2p     |
    | pinv_root            | ‖X - Xᵖ⁺¹A‖_F/‖X‖_F                                              | ≤ p + 1  |
    | inv                  | of I - AX or I - XA, the larger                                  | 3        |

    They are measured in float64 on a CPU. A GPU may be 64 times as slow in it: there at least in float32, and
    the machine epsilon times A's condition number is then the least residual of an inverse or a root.
    """

    residual: Tensor
    coefficient: Tensor
    coefficients: Tensor
    asymmetry: Tensor

    def converged(self, tol: float) -> Tensor:
        """Whether the last residual is at most tol, a bool tensor `[...]`; NaN is not. No sync."""
        return self.residual[..., -1] <= check_number("tol", tol)


class PolarFactors(NamedTuple):
    """A = U H: U `[..., m, n]` with orthonormal columns (rows if wide), H `[..., n, n]` = Hᴴ.

    Or A = H U with H `[..., m, m]`, for `side="left"`.
    """

    U: Tensor
    H: Tensor


class SqrtPair(NamedTuple):
    """The principal square root and its inverse, each `[..., n, n]`."""

    sqrt: Tensor
    inv_sqrt: Tensor
