"""What a matrix function supplies to the loop."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor

from .basis import Mixture, Polynomial
from .linear_algebra import frobenius_norm, quotient
from .rule import Options
from .scaling import magnitude, nonzero

State = Any
Result = TypeVar("Result")


class Form(ABC, Generic[Result]):
    """What a matrix function is: where its iteration starts, its residual and its update, and its result.

    All tensors are `[b, …]`. A form is made for a batch A and the `Options` of its call.

    name: of the function. p: the order of the iteration, None where the caller says it.
    rule: the rule that None stands for, None where that is the default of the degree.
    squared: whether the spectrum is that of a square, A's condition number then counts squared, and rounding
        perturbs it by the square of the machine epsilon.
    half_native: whether half precision is computed as it is, and not in float32.
    rectangular: whether A need not be square; its vector-Jacobian product then takes no adjoints.
    """

    name: ClassVar[str]
    p: ClassVar[int | None] = 2
    rule: ClassVar[str | None] = None
    squared: ClassVar[bool] = True
    half_native: ClassVar[bool] = False
    rectangular: ClassVar[bool] = False

    def __init__(self, A: Tensor, options: Options):
        """The form for A; most are the same for every A."""

    def prepare(self, A: Tensor) -> tuple[Tensor, Tensor]:
        """A over its magnitude, and the magnitude `[b, 1, 1]`."""
        scale = magnitude(A)
        return quotient(A, nonzero(scale)), scale

    @abstractmethod
    def spectrum(self, A: Tensor) -> Tensor:
        """The matrix `[b, n, n]` whose eigenvalues, over a bound c, the iteration brings to one."""

    def frobenius_bound(self, A: Tensor) -> Tensor:
        """A bound on its spectral radius by the Frobenius norm of A, `[b, 1, 1]`."""
        norm = frobenius_norm(A)
        return norm.square() if self.squared else norm

    @abstractmethod
    def start(self, A: Tensor, bound: Tensor) -> State:
        """The state at A over the bound c; A as `prepare` returned it."""

    @abstractmethod
    def residual(self, state: State, identity: Tensor) -> Tensor:
        """R, which is zero at convergence."""

    @abstractmethod
    def update(self, state: State, polynomial: Polynomial, last: bool) -> State:
        """The state after a step; `last`: skip what only a further residual would read."""

    # What steps with an inverse ask besides, of forms of order 2 whose state is square.

    def inverse(self, state: State, M: Tensor) -> Tensor:
        """What such a step mixes in, `[b, n, n]`: its `spectrum` is M⁻¹, of the M of `newton.py`."""
        raise NotImplementedError

    def mixed(self, state: State, mixture: Mixture, last: bool) -> State:
        """The state after such a step; `last`: as in `update`."""
        raise NotImplementedError

    def rescaled(self, state: State, bound: Tensor) -> State:
        """The state with M over a bound, and the same limit."""
        raise NotImplementedError

    @abstractmethod
    def results(self, state: State, magnitude: Tensor, bound: Tensor) -> tuple[Tensor, ...]:
        """The matrix functions of A from the last state, and the magnitude and bound that divided A."""

    @staticmethod
    def finished(A: Tensor, options: Options, *results: Tensor) -> Any:
        """What the function returns, a `Result`, from A and those; derivatives flow through it."""
        return results[0]

    @staticmethod
    @abstractmethod
    def deviation(A: Tensor, scale: Tensor, p: int, *results: Tensor) -> tuple[Tensor, Tensor]:
        """The last residual and the asymmetry of a `History`, `[b]` each.

        They are of what is returned against A: what is carried beside a result drifts from what it stands
        for, and results are rounded. A is divided by the scale `[b, 1, 1]`, which keeps its products from
        overflowing, the results are not yet.
        """
