"""The iteration that every function shares: residual, Krylov blocks, coefficients, update, repeated.

What differs between the functions, i.e. the residual and the update, is a form (`forms.py`); how the
polynomial is chosen is a rule (`rules.py`). The loop is unrolled: a graph of fixed length.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .._options import Options
from .._results import History
from . import labels
from .rules import StepInfo
from .scaling import frobenius_norm
from .sketch import sketches


class StepPolynomial(NamedTuple):
    """g(R) = g0 I + W of a step, with W = g1 R + g2 R² formed."""

    step: int
    residual: Tensor
    identity: Tensor
    g0: float | Tensor
    W: Tensor

    def matrix(self) -> Tensor:
        """g(R) itself."""
        return (self.g0 * self.identity + self.W).to(self.W.dtype)

    def times(self, X: Tensor) -> Tensor:
        """g(R) X."""
        if self._is_one_matrix():
            return torch.bmm(self.matrix(), X)
        return _scaled_add(self.g0, X, self.W, X)

    def after(self, X: Tensor) -> Tensor:
        """X g(R)."""
        if self._is_one_matrix():
            return torch.bmm(X, self.matrix())
        return _scaled_add(self.g0, X, X, self.W)

    def _is_one_matrix(self) -> bool:
        # A g0 that is no number would cost a scaled copy of X. In half precision it is worth that: g0 I + W
        # would round away what W has left near convergence.
        return isinstance(self.g0, Tensor) and self.W.dtype not in (torch.float16, torch.bfloat16)


class Form(Protocol):
    """One way to write an iteration: its state, the residual of a state and the update of one."""

    def residual(self, state, identity: Tensor) -> Tensor: ...

    def update(self, state, polynomial: StepPolynomial, last: bool): ...


def _scaled_add(g0: float | Tensor, X: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """g0 X + left right. baddbmm adds in the product's accumulator, which halves half-precision error."""
    if isinstance(g0, Tensor):
        return torch.baddbmm((g0 * X).to(X.dtype), left, right)
    return torch.baddbmm(X, left, right, beta=g0)


def rms_norm(residual: Tensor) -> Tensor:
    """‖R‖_F/√n of each matrix, `[b]`; no derivative flows through it."""
    n = residual.shape[-1]
    return (frobenius_norm(residual.detach()) * (n**-0.5 if n else 0.0))[:, 0, 0]


def _weighted_sum(a: float | Tensor, A: Tensor, b: float | Tensor, B: Tensor) -> Tensor:
    """a A + b B in as few passes over the matrices as there are, rounded once; a, b are at least float32."""
    total = a * A + b * B if isinstance(a, Tensor) else torch.add(b * B, A, alpha=a)
    return total.to(A.dtype)


def weighted_powers(
    g1: float | Tensor, residual: Tensor, g2: float | Tensor, square: Tensor | None, degree: int
) -> Tensor:
    """W = g1 R + g2 R²."""
    if degree == 1:
        return (g1 * residual).to(residual.dtype)
    if square is None and not isinstance(g1, Tensor) and not isinstance(g2, Tensor):
        # One product without a pass over R², and rounded once.
        return torch.baddbmm(residual, residual, residual, beta=g1, alpha=g2)
    return _weighted_sum(g1, residual, g2, torch.bmm(residual, residual) if square is None else square)


class Record(NamedTuple):
    """What a run leaves besides its result, step by step.

    fitted: the numbers `[b, 1, 1]` that the rule fitted; leading: the leading coefficient; residuals:
    the norms `[b]` at the start of each step and at the end, only with `options.history`.
    """

    fitted: list[tuple[Tensor, ...]]
    leading: list[float | Tensor]
    residuals: list[Tensor]


def step_info(options: Options, step: int) -> StepInfo:
    """What a rule is told of a step."""
    return StepInfo(step, options.steps, options.p, options.degree)


def iterate(form: Form, begin: Callable[[], tuple], options: Options) -> tuple:
    """Run `options.steps` steps of a form; `(state, bound, Record)`, bound c `[b, 1, 1]` of the scaling.

    `begin()` gives the scaled state and its `ScaledSpectrum`, whose residual is the first. It is a function
    so that no caller's variable keeps the first matrices alive through the run.
    """
    steps, degree, rule = options.steps, options.degree, options.rule
    with labels.phase("scaling"):
        state, (bound, residual, square, identity) = begin()
    count, constants = rule.krylov_count(options.p, degree), None
    if count:
        with labels.phase("sketch"):
            sketch = sketches(
                residual.shape[-1], options.sketch_size, steps, options.seed, residual.dtype, residual.device
            )
            constants = rule.constants(residual.dtype, residual.device)
    record, fitted = Record([], [], []), rule.start(residual) if count else ()
    for step in range(steps):
        with labels.step(step):
            if step > 0:
                with labels.phase("residual"):
                    residual = form.residual(state, identity)
                    square = torch.bmm(residual, residual) if degree == 2 and count else None
            if options.history:
                record.residuals.append(rms_norm(residual))
            info, blocks = step_info(options, step), []
            if count:
                # The coefficients are constants to a derivative: what it differentiates is a polynomial in A.
                known_square = None if square is None else square.detach()
                with labels.phase("sketch"):
                    blocks = rule.blocks(info, sketch[step], residual.detach(), known_square, fitted)
            with labels.phase("fit"):
                fitted = rule.fit(info, blocks, fitted, constants)
                coefficients = rule.complete(info, *fitted)
            record.fitted.append(fitted)
            record.leading.append(coefficients.leading(degree))
            with labels.phase("update"):
                g0, g1, g2 = coefficients
                W = weighted_powers(g1, residual, g2, square, degree)
                polynomial = StepPolynomial(step, residual, identity, g0, W)
                del residual, square, W
                # The update of the last step may skip what only a further residual would read.
                last = step == steps - 1 and not options.history
                state = form.update(state, polynomial, last)
                del polynomial
    if options.history:
        record.residuals.append(rms_norm(form.residual(state, identity)))
    return state, bound, record


def history_of(record: Record) -> History:
    """The record of a run with history, stacked: residual `[b, steps + 1]`, coefficient `[b, steps]`."""
    first = record.residuals[0]
    columns = [a[:, 0, 0] if isinstance(a, Tensor) else torch.full_like(first, a) for a in record.leading]
    return History(torch.stack(record.residuals, dim=-1), torch.stack(columns, dim=-1))
