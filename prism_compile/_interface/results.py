"""The named tuples that the functions return."""

from typing import NamedTuple

from torch import Tensor


class History(NamedTuple):
    """How a run went, step by step; part of the graph's outputs, so reading it costs no sync.

    residual: `[..., steps + 1]`, the rms residual ‖R‖_F/√n at the start of each step and at the end
    (√(mean r²) over the residual's eigenvalues r; 0 is converged, 1 is where a zero matrix stays).
    coefficient: `[..., steps]`, the leading coefficient α of each step's polynomial.
    Both are float32 for half-precision, float32 and complex64 input, float64 for float64 and complex128.
    """

    residual: Tensor
    coefficient: Tensor


class PolarFactors(NamedTuple):
    """A = U H: U `[..., m, n]` with orthonormal columns (rows if wide), H = Hᴴ `[..., n, n]`."""

    U: Tensor
    H: Tensor


class SqrtPair(NamedTuple):
    """The principal square root and its inverse, each `[..., n, n]`."""

    sqrt: Tensor
    inv_sqrt: Tensor
