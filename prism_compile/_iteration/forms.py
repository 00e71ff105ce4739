"""The iterations themselves: for each, its state, its residual and its update.

| form           | state                   | residual  | update                       | limit            |
|----------------|-------------------------|-----------|------------------------------|------------------|
| GramForm       | X, X₀ = A               | I - XᵀX   | X ← X g(R)                   | A(AᵀA)^(-1/2)    |
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
from .scaling import identity_like


def _identity_minus(left: Tensor, right: Tensor) -> Tensor:
    """I - left right, rounded once."""
    return torch.baddbmm(identity_like(right), left, right, alpha=-1)


class GramForm:
    """Polar factor of a tall or square matrix; the residual reads the Gram matrix."""

    def residual(self, X: Tensor) -> Tensor:
        return _identity_minus(X.transpose(-1, -2), X)

    def update(self, X: Tensor, polynomial: StepPolynomial, last: bool) -> Tensor:
        return polynomial.after(X)


class SignForm:
    """Matrix sign of a square matrix with real spectrum."""

    def residual(self, X: Tensor) -> Tensor:
        return _identity_minus(X, X)

    def update(self, X: Tensor, polynomial: StepPolynomial, last: bool) -> Tensor:
        return polynomial.after(X)


class ReciprocalForm:
    """Inverse of a general square A; the residual is measured against A itself."""

    def __init__(self, A: Tensor):
        self.A = A

    def residual(self, X: Tensor) -> Tensor:
        return _identity_minus(self.A, X)

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

    def residual(self, state: CoupledState) -> Tensor:
        return _identity_minus(state.Y, state.X)

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

    def residual(self, state: RootState) -> Tensor:
        return identity_like(state.M) - state.M

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
