"""The ends of a spectrum, and the nearest rotation, which needs the lower one.

By repeated squaring: B^(2^k) is dominated by B's largest eigenvalue as after 2^k steps of the power method.
"""

import math

import torch
from torch import Tensor

from .linear_algebra import (
    determinant,
    diagonal,
    frobenius_norm,
    identity_like,
    identity_minus,
    inverse,
    is_known,
    quotient,
    symmetric,
    trace,
)
from .scaling import magnitude, nonzero

# The estimate of the largest eigenvalue is short by up to the factor n^(2^-6), 1.07 for n = 64 and 1.11 for
# 1024; one squaring fewer doubles that in percent, one more halves it.
_SQUARINGS = 6


def _power(B: Tensor, squarings: int) -> Tensor:
    """A multiple of B^(2^squarings), of Frobenius norm one before each squaring."""
    for _ in range(squarings):
        B = quotient(B, nonzero(frobenius_norm(B)))
        B = torch.bmm(B, B)
    return B


def largest_eigenvalue(A: Tensor) -> Tensor:
    """An estimate from below, `[b, 1, 1]`, for semidefinite A; a constant to derivatives."""
    A = A.detach()
    B = _power(A, _SQUARINGS)
    return trace(torch.bmm(A, B)) / nonzero(trace(B))


def unit_vector(E: Tensor) -> Tensor:
    """The vector v `[b, n, 1]` of a real E = a vvᵀ, of length one: the column with the largest diagonal."""
    column = diagonal(E).argmax(-1)
    # Not take_along_dim, which binds an exported graph to its batch size.
    v = E.gather(-1, column[:, None, None].expand(-1, E.shape[-1], -1))
    return v / nonzero(torch.linalg.vector_norm(v, dim=-2, keepdim=True))


def least_eigenvector(H: Tensor) -> Tensor:
    """The unit vector `[b, n, 1]` of a real semidefinite H's least eigenvalue, H of a magnitude near one.

    By so many squarings of the inverse that a relative gap of √ε is told apart: there rounding, ε over the
    gap, leaves no more digits. One squaring fewer or more doubles or halves that gap.

    The derivatives are those of two steps of Newton's method, each v ← v - (H - λ)⁺ (H - λ) v, and not of the
    squarings, each of which would double its rounding. In the pseudo-inverse a gap below √ε counts as none.
    """
    identity, constant, eps = identity_like(H), H.detach(), torch.finfo(H.dtype).eps
    squarings = math.ceil(math.log2(-math.log(eps) / 2 / math.sqrt(eps)))
    # The shift, of the size of rounding, keeps a singular H from having no inverse.
    v = unit_vector(_power(inverse(constant + 4 * eps * identity), squarings))
    for _ in range(2):
        Hv = torch.bmm(H, v)
        value = torch.bmm(v.mT, Hv)
        K, rest = H - value * identity, Hv - value * v
        # A step of no length: of the rest there is rounding alone, which a small gap would enlarge.
        moved = torch.bmm(K, rest - rest.detach())
        v = v - torch.bmm(inverse(torch.bmm(K, K) + torch.bmm(v, v.mT) + eps * identity), moved)
        v = v / torch.linalg.vector_norm(v, dim=-2, keepdim=True)
    return v


def nearest_rotation(A: Tensor, Q: Tensor) -> Tensor:
    """The nearest orthogonal matrix of determinant +1 to a real square A, from the polar factor Q.

    Q with its part in the direction of the least singular value, Q v vᵀ, replaced by ± u vᵀ, u spanning
    what the others leave. Of A this asks for rank n - 1 only, for Q need not have grown to one along v. A Q
    that is a rotation is returned: it has derivatives also where values tie, and v has none.
    """
    if is_known(A.shape[-1] == 0):
        return Q
    H = torch.bmm(Q.mT, A / nonzero(magnitude(A)))
    v = least_eigenvector(symmetric(H))
    others = Q - torch.bmm(torch.bmm(Q, v), v.mT)
    u = unit_vector(identity_minus(identity_like(Q), others, others.mT))
    completing = torch.bmm(u, v.mT)
    completed = others + determinant(others + completing).sign() * completing
    is_rotation = (determinant(Q) - 1).abs() < math.sqrt(torch.finfo(Q.dtype).eps)
    return torch.where(is_rotation, Q, completed)
