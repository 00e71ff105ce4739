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
from .newton import Log, bound_near_one, newton_steps
from .precision import real_dtype
from .probe import Probe
from .scaling import scaled_basis, schatten_scaling, with_room
from .sketch import sketches


class StepInfo(NamedTuple):
    """What a rule may know of a step besides its probe; all of it is static.

    step, steps: of the polynomials alone; newton_steps: before these. dtype: of the matrices, or of the parts
    of complex ones; squared: as in `Form`.
    """

    step: int
    steps: int
    p: int
    degree: int
    dtype: torch.dtype
    squared: bool = True
    newton_steps: int = 0


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

    def newton(self, step: int, R: Tensor, D: Tensor, nu: Tensor) -> Coefficients: ...


class RunOptions(Protocol):
    """What the loop asks of a call's options."""

    @property
    def p(self) -> int: ...

    @property
    def steps(self) -> int: ...

    @property
    def newton_steps(self) -> int: ...

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

    coefficients: those of each step, as the rule chose them; of a Newton step 1, α and 0. history: with
    `options.history` what `History` holds, for a batch `[b]`.
    """

    coefficients: list[Coefficients]
    history: tuple[Tensor, ...] = ()


def _history(log: Log, asymmetry: Tensor, degree: int, newton_steps: int) -> tuple[Tensor, ...]:
    first = log.residuals[0]
    columns = [
        a[:, 0, 0] if isinstance(a, Tensor) else torch.full_like(first, a) for g in log.polynomials for a in g
    ]
    coefficients = torch.stack(columns, dim=-1).unflatten(-1, (len(log.polynomials), 3))
    # Of a step with an inverse α, else that of the residual's highest power.
    leading = torch.cat([coefficients[:, :newton_steps, 1], coefficients[:, newton_steps:, degree]], dim=-1)
    return torch.stack(log.residuals, dim=-1), leading, coefficients, asymmetry


def step_info(options: RunOptions, step: int, dtype: torch.dtype, squared: bool = True) -> StepInfo:
    """What a rule is told of a step."""
    first, parts = options.newton_steps, real_dtype(dtype)
    return StepInfo(step, options.steps - first, options.p, options.degree, parts, squared, first)


def _margin_and_shift(options: RunOptions) -> tuple[float, float | None]:
    """The rule's factor on a bound of x, whose own is one of x^(1/p), and the shift of the first basis."""
    shift = options.rule.shift(options.degree)
    if options.scaling == "schatten" and shift is None and options.degree == 2:
        # That scaling forms M², and so R² for nothing, also where a rule needs no Q.
        shift = 0.0
    return options.rule.margin() ** options.p, shift


def _begin(form: Form, A: Tensor, options: RunOptions) -> tuple[Any, Tensor, Tensor, Basis]:
    """The scaled state, A's magnitude, the bound and the first basis."""
    A, scale = form.prepare(A)
    margin, shift = _margin_and_shift(options)
    if options.scaling == "schatten":
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


def _of_the_state(
    chosen: Coefficients, shift: float | None, p: int, before: Tensor | None, after: Tensor | None
) -> Coefficients:
    """A step's coefficients in powers of R of the state itself; before, after: uᵖ of the bounds u.

    The rule's are of R' = R/uᵖ + (1 - 1/uᵖ) I and Q, and take the state over one bound to it over the next.
    """
    g0, g1, g2 = chosen
    g1 = g1 - (shift or 0.0) * g2
    if before is not None:
        e, f = 1 - 1 / before, 1 / before
        u = before ** (1 / p)
        g0, g1, g2 = (g0 + e * (g1 + e * g2)) / u, (g1 + 2 * e * g2) * f / u, g2 * f * f / u
    if after is not None:
        u = after ** (1 / p)
        g0, g1, g2 = g0 * u, g1 * u, g2 * u
    return Coefficients(g0, g1, g2)


def _constant(state: Any) -> Any:
    """The state, of which no derivative is asked."""
    if isinstance(state, Tensor):
        return state.detach()
    return type(state)(*(None if part is None else part.detach() for part in state))


def _detached(basis: Basis) -> Basis:
    """The coefficients are constants to a derivative: what it differentiates is a polynomial in A."""
    identity, residual, quadratic = basis
    return Basis(identity, residual.detach(), None if quadratic is None else quadratic.detach())


def _begin_after_newton(
    form: Form, A: Tensor, options: RunOptions, log: Log
) -> tuple[Any, Tensor, Tensor, Basis]:
    """The same after the Newton steps, whose values may lie on both sides of one.

    The second scaling is one by a bound that leaves them where they are if all are near one.
    """
    state, scale, bound, M, identity = newton_steps(form, A, options, log)
    if options.newton_steps == options.steps:
        return state, scale, bound, Basis(identity, identity - M, None)
    schatten = options.scaling == "schatten"
    margin, shift = _margin_and_shift(options)
    with labels.phase("scaling"):
        squared = form.quadratic(M, 0) if schatten or shift is not None else None
        again = with_room(bound_near_one(M, squared if schatten else None, identity), margin)
        return form.rescaled(state, again), scale, bound, scaled_basis(M, squared, identity, again, shift)


def iterate(form: Form, A: Tensor, options: RunOptions) -> tuple[tuple[Tensor, ...], Record]:
    """Run `options.steps` steps of a form on A; its results, and what the run leaves besides them."""
    degree, rule, dtype, log = options.degree, options.rule, A.dtype, Log([], [], [])
    first, steps = options.newton_steps, options.steps - options.newton_steps
    if first:
        state, scale, bound, basis = _begin_after_newton(form, A, options, log)
    else:
        with labels.phase("scaling"):
            state, scale, bound, basis = _begin(form, A, options)
    identity, drawn, prepared, carry = basis.identity, None, None, rule.start(basis.residual)
    if rule.probes and steps:
        n, device = basis.residual.shape[-1], basis.residual.device
        with labels.phase("sketch"):
            drawn = sketches(n, options.sketch_size, steps, options.seed, dtype, device)
            prepared = rule.prepare(step_info(options, 0, dtype, form.squared), basis.residual)
    for step in range(steps):
        info = step_info(options, step, dtype, form.squared)
        with labels.step(first + step):
            if step > 0:
                with labels.phase("residual"):
                    basis = _basis(form, state, identity, rule.shift(degree))
            if options.history:
                before = rule.bound(carry, options.p)
                log.residuals.append(_norm(basis, before))
            with labels.phase("fit"):
                probe = None
                if drawn is not None:
                    probe = form.probe(_detached(basis), drawn[0][step], drawn[1][step])
                chosen, carry = rule.coefficients(info, probe, carry, prepared)
            log.coefficients.append(chosen)
            if options.history:
                # The last step leaves the state itself.
                after = rule.bound(carry, options.p) if step < steps - 1 else None
                log.polynomials.append(_of_the_state(chosen, rule.shift(degree), options.p, before, after))
            with labels.phase("update"):
                polynomial = polynomial_of(step, basis, chosen, form.quadratic)
                # What the next step has no use for must not be kept alive by a name.
                del basis, probe
                # The update of the last step may skip what only a further residual would read.
                last = step == steps - 1 and not (options.history and form.reads_state)
                state = form.update(state, polynomial, last)
                del polynomial
    history: tuple[Tensor, ...] = ()
    if options.history:
        known, found = form.prepare(A.detach())[0], _constant(state)
        residual = form.last_residual(known, bound, found, identity)
        log.residuals.append(residual.to(log.residuals[0].dtype))
        history = _history(log, form.asymmetry(known, found), degree, first)
    return form.results(state, scale, bound), Record(log.coefficients, history)
