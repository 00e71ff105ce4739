"""The iteration that every function shares: residual, probe, coefficients, update, repeated.

What differs between the functions, i.e. the start, the residual and the update, is a form; how the polynomial
is chosen is a rule. The loop is unrolled: a graph of fixed length. That `steps_for` runs it too, on the
form of a known spectrum, is why it knows no matrix product.
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from . import labels
from .basis import Basis, Coefficients, polynomial_of
from .form import Form
from .linear_algebra import rms_norm
from .probe import Probe
from .scaling import schatten_scaling, with_room
from .sketch import sketches


class StepInfo(NamedTuple):
    """What a rule may know of a step besides its probe; all of it is static.

    dtype: of the matrices; squared: as in `Form`.
    """

    step: int
    steps: int
    p: int
    degree: int
    dtype: torch.dtype
    squared: bool = True


class StepRule(Protocol):
    """What the loop asks of a rule; `_rules/rule.py` says more."""

    def margin(self) -> float: ...

    def shift(self, degree: int) -> float | None: ...

    @property
    def probes(self) -> bool: ...

    def prepare(self, info: StepInfo, residual: Tensor) -> Any: ...

    def start(self, residual: Tensor) -> Any: ...

    def coefficients(
        self, info: StepInfo, probe: Probe | None, carry: Any, prepared: Any
    ) -> tuple[Coefficients, Any]: ...

    def bound(self, carry: Any, p: int) -> Tensor | None: ...

    def leading(self, info: StepInfo, chosen: Coefficients, before: Any, after: Any) -> float | Tensor: ...


class RunOptions(Protocol):
    """What the loop asks of a call's options."""

    @property
    def p(self) -> int: ...

    @property
    def steps(self) -> int: ...

    @property
    def degree(self) -> int: ...

    @property
    def rule(self) -> StepRule: ...

    @property
    def scaling(self) -> str: ...

    @property
    def sketch_size(self) -> int: ...

    @property
    def seed(self) -> int: ...

    @property
    def history(self) -> bool: ...


class Record(NamedTuple):
    """What a run leaves besides its result.

    coefficients: those of each step, as the rule chose them. history: with `options.history` the rms
    residuals `[b, steps + 1]` at the start of each step and at the end, and the leading coefficients `[b,
    steps]`.
    """

    coefficients: list[Coefficients]
    history: tuple[Tensor, ...] = ()


def _history(residuals: list[Tensor], leading: list[float | Tensor]) -> tuple[Tensor, Tensor]:
    first = residuals[0]
    columns = [a[:, 0, 0] if isinstance(a, Tensor) else torch.full_like(first, a) for a in leading]
    return torch.stack(residuals, dim=-1), torch.stack(columns, dim=-1)


def step_info(options: RunOptions, step: int, dtype: torch.dtype, squared: bool = True) -> StepInfo:
    """What a rule is told of a step."""
    return StepInfo(step, options.steps, options.p, options.degree, dtype, squared)


def _begin(form: Form, A: Tensor, options: RunOptions) -> tuple[Any, Tensor, Tensor, Basis]:
    """The scaled state, A's magnitude, the bound and the first basis."""
    rule = options.rule
    A, scale = form.prepare(A)
    # A margin is one of x^(1/p), the bound one of x.
    margin, shift = rule.margin() ** options.p, rule.shift(options.degree)
    if options.scaling == "schatten":
        # Its M² is R² for nothing, also where a rule needs no Q.
        shift = 0.0 if shift is None and options.degree == 2 else shift
        M = form.spectrum(A)
        bound, basis = schatten_scaling(M, form.quadratic(M, 0), form.identity(A), margin, shift)
        return form.start(A, bound), scale, bound, basis
    bound = with_room(form.frobenius_bound(A), margin)
    state = form.start(A, bound)
    return state, scale, bound, _basis(form, state, form.identity(A), shift)


def _basis(form: Form, state: Any, identity: Tensor, shift: float | None) -> Basis:
    residual = form.residual(state, identity)
    return Basis(identity, residual, None if shift is None else form.quadratic(residual, -shift))


def _norm(basis: Basis, bound: Tensor | None) -> Tensor:
    """The rms residual of the state, from that of the state over u: I - uᵖ(I - R)."""
    residual = basis.residual.detach()
    if bound is not None:
        residual = (bound * residual + (1 - bound) * basis.identity).to(residual.dtype)
    return rms_norm(residual)


def _detached(basis: Basis) -> Basis:
    """The coefficients are constants to a derivative: what it differentiates is a polynomial in A."""
    identity, residual, quadratic = basis
    return Basis(identity, residual.detach(), None if quadratic is None else quadratic.detach())


def iterate(form: Form, A: Tensor, options: RunOptions) -> tuple[tuple[Tensor, ...], Record]:
    """Run `options.steps` steps of a form on A; its results, and what the run leaves besides them."""
    steps, degree, rule, dtype = options.steps, options.degree, options.rule, A.dtype
    with labels.phase("scaling"):
        state, scale, bound, basis = _begin(form, A, options)
    identity, drawn, prepared, carry = basis.identity, None, None, rule.start(basis.residual)
    if rule.probes:
        n, device = basis.residual.shape[-1], basis.residual.device
        with labels.phase("sketch"):
            drawn = sketches(n, options.sketch_size, steps, options.seed, dtype, device)
            prepared = rule.prepare(step_info(options, 0, dtype, form.squared), basis.residual)
    coefficients, residuals, leading = [], [], []
    for step in range(steps):
        info = step_info(options, step, dtype, form.squared)
        with labels.step(step):
            if step > 0:
                with labels.phase("residual"):
                    basis = _basis(form, state, identity, rule.shift(degree))
            if options.history:
                residuals.append(_norm(basis, rule.bound(carry, options.p)))
            before = carry
            with labels.phase("fit"):
                probe = None
                if drawn is not None:
                    probe = form.probe(_detached(basis), drawn[0][step], drawn[1][step])
                chosen, carry = rule.coefficients(info, probe, carry, prepared)
            coefficients.append(chosen)
            if options.history:
                leading.append(rule.leading(info, chosen, before, carry))
            with labels.phase("update"):
                polynomial = polynomial_of(step, basis, chosen, form.quadratic)
                # What the next step has no use for must not be kept alive by a name.
                del basis, probe
                # The update of the last step may skip what only a further residual would read.
                last = step == steps - 1 and not options.history
                state = form.update(state, polynomial, last)
                del polynomial
    if options.history:
        residuals.append(rms_norm(form.residual(state, identity)))
    record = Record(coefficients, _history(residuals, leading) if options.history else ())
    return form.results(state, scale, bound), record
