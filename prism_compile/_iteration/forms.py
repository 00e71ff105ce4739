"""The iterations themselves: for each, its state, its residual and its update.

| form           | state                   | residual  | update                       | limit            |
|----------------|-------------------------|-----------|------------------------------|------------------|
| PolarForm      | X, X₀ = A               | I - XᵀX   | X ← X g(R)                   | A(AᵀA)^(-1/2)    |
| SignForm       | X, X₀ = A               | I - X²    | X ← X g(R)                   | sign(A)          |
| ReciprocalForm | X, X₀ = Aᵀ/c            | I - AX    | X ← X g(R)                   | A⁻¹              |
| CoupledForm    | X, Y, X₀ = A/c, Y₀ = I  | I - YX    | X ← X g(R), Y ← g(R) Y       | (A/c)^(±1/2)     |
| RootForm       | X, M, X₀ = I, M₀ = A/c  | I - M     | X ← X g(R), M ← g(R)^p M     | (A/c)^(-1/p)     |

The order of the factors matters: the coupled iterations are stable as written and not in others
(Higham, Functions of Matrices, ch. 6). All tensors are `[b, …]`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .loop import StepPolynomial


def _identity_minus(identity: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """I - left right, rounded once."""
    return torch.baddbmm(identity, left, right, alpha=-1)


class PolarState(NamedTuple):
    """X Q → A(AᵀA)^(-1/2); scale: a factor of X not yet applied; residual: of X Q. None: 1, I, not known."""

    X: Tensor
    scale: Tensor | None = None
    Q: Tensor | None = None
    residual: Tensor | None = None


class PolarForm:
    """Polar factor of a tall or square matrix.

    X is multiplied out after the steps `ends`, all of them in the direct form. Between them only n×n
    matrices are touched: Q ← Q g(R), and R follows by I - R ← g(R) (I - R) g(R), the two-sided product,
    for a closed form in R amplifies rounding.
    """

    def __init__(self, ends: frozenset[int]):
        self.ends = ends

    def residual(self, state: PolarState, identity: Tensor) -> Tensor:
        if state.residual is not None:
            return state.residual
        return _identity_minus(identity, state.X.transpose(-1, -2), state.X)

    def update(self, state: PolarState, polynomial: StepPolynomial, last: bool) -> PolarState:
        X, scale, Q, _ = state
        if polynomial.step in self.ends:
            if Q is None:
                return PolarState(polynomial.after(X if scale is None else X * scale))
            return PolarState(torch.bmm(X, polynomial.after(Q)))
        g = polynomial.matrix()
        half = torch.baddbmm(g, polynomial.residual, g, alpha=-1)
        residual = _identity_minus(polynomial.identity, g, half)
        if Q is not None:
            return PolarState(X, None, torch.bmm(Q, g), residual)
        # The factor costs less on Q, and the tall X is then passed over once less.
        return PolarState(X, None, g if scale is None else g * scale, residual)


class SignForm:
    """Matrix sign of a square matrix with real spectrum."""

    def residual(self, X: Tensor, identity: Tensor) -> Tensor:
        return _identity_minus(identity, X, X)

    def update(self, X: Tensor, polynomial: StepPolynomial, last: bool) -> Tensor:
        return polynomial.after(X)


class ReciprocalForm:
    """Inverse of a general square A; the residual is measured against A itself."""

    def __init__(self, A: Tensor):
        self.A = A

    def residual(self, X: Tensor, identity: Tensor) -> Tensor:
        return _identity_minus(identity, self.A, X)

    def update(self, X: Tensor, polynomial: StepPolynomial, last: bool) -> Tensor:
        return polynomial.after(X)


class CoupledState(NamedTuple):
    """X → (A/c)^(1/2) and Y → (A/c)^(-1/2); None stands for the identity, or for one not wanted."""

    X: Tensor | None
    Y: Tensor | None


class CoupledForm:
    """Square root and inverse square root together; `wants` names those the caller reads."""

    def __init__(self, wants: tuple[str, ...]):
        self.wants = wants

    def residual(self, state: CoupledState, identity: Tensor) -> Tensor:
        return _identity_minus(identity, state.Y, state.X)

    def update(self, state: CoupledState, polynomial: StepPolynomial, last: bool) -> CoupledState:
        X = Y = None
        if not last or "sqrt" in self.wants:
            X = polynomial.after(state.X)
        if not last or "inv_sqrt" in self.wants:
            Y = polynomial.matrix() if state.Y is None else polynomial.times(state.Y)
        return CoupledState(X, Y)


class RootState(NamedTuple):
    """X → (A/c)^(-1/p) and M = X^p A/c → I; X None stands for the identity."""

    X: Tensor | None
    M: Tensor


class RootForm:
    """Inverse p-th root of a definite matrix by the coupled inverse Newton iteration."""

    def __init__(self, p: int):
        self.p = p

    def residual(self, state: RootState, identity: Tensor) -> Tensor:
        return identity - state.M

    def update(self, state: RootState, polynomial: StepPolynomial, last: bool) -> RootState:
        X = polynomial.matrix() if state.X is None else polynomial.after(state.X)
        M = state.M if last else self._raised(polynomial, state.M)
        return RootState(X, M)

    def _raised(self, polynomial: StepPolynomial, M: Tensor) -> Tensor:
        """g(R)^p M by repeated squaring where that takes fewer products than p applications."""
        squarings = (self.p & -self.p).bit_length() - 1
        rest = self.p >> squarings
        if squarings + rest >= self.p:
            for _ in range(self.p):
                M = polynomial.times(M)
            return M
        factor = polynomial.matrix()
        for _ in range(squarings):
            factor = torch.bmm(factor, factor)
        for _ in range(rest):
            M = torch.bmm(factor, M)
        return M
