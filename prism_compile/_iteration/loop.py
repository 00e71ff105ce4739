"""The iteration that every function shares: residual, Krylov blocks, coefficients, update, repeated.

What differs between the functions, i.e. the residual and the update, is a form (`forms.py`); how the
polynomial is chosen is a rule (`rules.py`). The loop is unrolled: a graph of fixed length.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .._options import Options
from .._results import History
from .krylov import krylov_blocks
from .rules import Coefficients, StepInfo
from .scaling import ScaledSpectrum, frobenius_norm, identity_like
from .sketch import Sketches


class StepPolynomial(NamedTuple):
    """g(R) = g0 I + W, with W = g1 R + g2 R² formed."""

    g0: float | Tensor
    W: Tensor

    def matrix(self) -> Tensor:
        """g(R) itself."""
        return self.g0 * identity_like(self.W) + self.W

    def times(self, X: Tensor) -> Tensor:
        """g(R) X."""
        return _scaled_add(self.g0, X, self.W, X)

    def after(self, X: Tensor) -> Tensor:
        """X g(R)."""
        return _scaled_add(self.g0, X, X, self.W)


class Form(Protocol):
    """One way to write an iteration: its state, the residual of a state and the update of one."""

    p: int

    def residual(self, state): ...

    def update(self, state, polynomial: StepPolynomial, last: bool): ...


def _scaled_add(g0: float | Tensor, X: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """g0 X + left right. baddbmm adds in the product's accumulator, which halves half-precision error."""
    if isinstance(g0, Tensor):
        return torch.baddbmm(g0 * X, left, right)
    return torch.baddbmm(X, left, right, beta=g0)


def _rms(residual: Tensor) -> Tensor:
    """‖R‖_F/√n of each matrix, `[b]`."""
    n = residual.shape[-1]
    return (frobenius_norm(residual) * (n**-0.5 if n else 0.0))[:, 0, 0]


def step_polynomial(coefficients: Coefficients, residual: Tensor, square: Tensor | None) -> StepPolynomial:
    """Evaluate g(R), the coefficients rounded to the residual's dtype only here."""

    def cast(g: float | Tensor) -> float | Tensor:
        return g.to(residual.dtype) if isinstance(g, Tensor) else g

    g0, g1, g2 = map(cast, coefficients)
    W = g1 * residual
    return StepPolynomial(g0, W if square is None else W + g2 * square)


def iterate(form: Form, state, start: ScaledSpectrum, options: Options):
    """Run `options.steps` steps of a form from a scaled start; `(state, History | None)`.

    The first residual and its square come with the start. The history's entries are `[b, …]`.
    """
    steps, degree, rule = options.steps, options.degree, options.rule
    residual, square = start.residual, start.square
    count = rule.krylov_count(form.p, degree)
    sketches = Sketches(
        residual.shape[-1], options.sketch_size, options.seed, residual.dtype, residual.device
    )
    residuals, leading = [], []
    for step in range(steps):
        if step > 0:
            residual = form.residual(state)
            square = torch.bmm(residual, residual) if degree == 2 else None
        blocks = None
        if count:
            # The coefficients are constants to a derivative (README, "Gradients").
            known_square = None if square is None else square.detach()
            blocks = krylov_blocks(sketches(step), residual.detach(), known_square, count)
        coefficients = rule.coefficients(StepInfo(step, steps, form.p, degree), blocks)
        polynomial = step_polynomial(coefficients, residual, square)
        # The update of the last step may skip what only a further step would read.
        state = form.update(state, polynomial, last=step == steps - 1 and not options.history)
        if options.history:
            residuals.append(_rms(residual.detach()))
            leading.append(coefficients.leading(degree))
    if not options.history:
        return state, None
    residuals.append(_rms(form.residual(state).detach()))
    return state, _history(residuals, leading)


def _history(residuals: list[Tensor], leading: list[float | Tensor]) -> History:
    first = residuals[0]
    columns = [a[:, 0, 0] if isinstance(a, Tensor) else torch.full_like(first, a) for a in leading]
    return History(torch.stack(residuals, dim=-1), torch.stack(columns, dim=-1))
