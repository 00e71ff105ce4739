"""The iteration that every function shares: residual, coefficients, update, repeated.

What differs between the functions, i.e. the start, the residual and the update, is a form; how the polynomial
is chosen is a rule. The loop is unrolled: a graph of fixed length.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import labels
from .basis import Basis, Coefficients, polynomial_of
from .form import Form
from .linear_algebra import identity_like, rms_norm
from .newton import Log, bound_near_one, newton_steps
from .rule import Options, StepInfo, step_info
from .scaling import enlarged, scaled_basis, schatten_bound


class Record(NamedTuple):
    """What a run leaves besides its result.

    coefficients: those of each step, as the rule chose them; of a Newton step 1, α and 0. history: with
    `options.history` what `History` holds of the steps, for a batch `[b]`.
    """

    coefficients: list[Coefficients]
    history: tuple[Tensor, ...] = ()


def _history(log: Log, degree: int, newton_steps: int) -> tuple[Tensor, ...]:
    first, steps = log.residuals[0], log.coefficients
    columns = [a[:, 0, 0] if isinstance(a, Tensor) else torch.full_like(first, a) for g in steps for a in g]
    coefficients = torch.stack(columns, dim=-1).unflatten(-1, (len(steps), 3))
    # Of a step with an inverse α, else that of the residual's highest power.
    leading = torch.cat([coefficients[:, :newton_steps, 1], coefficients[:, newton_steps:, degree]], dim=-1)
    return torch.stack(log.residuals, dim=-1), leading, coefficients


def _reads_square(options: Options, info: StepInfo) -> bool:
    """Whether the rule reads R², which quintic steps need anyway."""
    return options.degree == 2 and options.rule.looks(info)


def _begin(form: Form[Any], A: Tensor, options: Options) -> tuple[Any, Tensor, Tensor, Basis]:
    """The scaled state, A's magnitude, the bound and the first basis."""
    info = step_info(options, 0, A.dtype, form.squared)
    A, scale = form.prepare(A)
    margin = options.rule.margin() ** options.p
    if options.scaling == "schatten":
        M, identity = form.spectrum(A), identity_like(A)
        squared = torch.bmm(M, M)
        bound = schatten_bound(squared, margin)
        # The product gives R², too, with no other.
        basis = scaled_basis(M, squared if options.degree == 2 else None, identity, bound)
        return form.start(A, bound), scale, bound, basis
    bound = enlarged(form.frobenius_bound(A), margin)
    state = form.start(A, bound)
    return state, scale, bound, _basis(form, state, identity_like(A), _reads_square(options, info))


def _basis(form: Form[Any], state: Any, identity: Tensor, square: bool) -> Basis:
    residual = form.residual(state, identity)
    return Basis(identity, residual, torch.bmm(residual, residual) if square else None)


def _detached(basis: Basis) -> Basis:
    """The coefficients are constants to a derivative: what it differentiates is a polynomial in A."""
    identity, residual, squared = basis
    return Basis(identity, residual.detach(), None if squared is None else squared.detach())


def _begin_after_newton(
    form: Form[Any], A: Tensor, options: Options, log: Log
) -> tuple[Any, Tensor, Tensor, Basis]:
    """The same after the Newton steps, whose values may lie on both sides of one.

    The second scaling is one by a bound that leaves them where they are if all are near one.
    """
    state, scale, bound, M, identity = newton_steps(form, A, options, log)
    if options.newton_steps == options.steps:
        return state, scale, bound, Basis(identity, identity - M, None)
    info = step_info(options, 0, A.dtype, form.squared)
    schatten = options.scaling == "schatten"
    with labels.phase("scaling"):
        squared = torch.bmm(M, M) if schatten or _reads_square(options, info) else None
        bound_now = bound_near_one(M, squared if schatten else None, identity)
        again = enlarged(bound_now, options.rule.margin() ** options.p)
        if options.degree == 1:
            squared = None
        return form.rescaled(state, again), scale, bound, scaled_basis(M, squared, identity, again)


def iterate(form: Form[Any], A: Tensor, options: Options) -> tuple[tuple[Tensor, ...], Record]:
    """Run `options.steps` steps of a form on A; its results, and what the run leaves besides them."""
    rule, dtype, log = options.rule, A.dtype, Log([], [])
    first, steps = options.newton_steps, options.steps - options.newton_steps
    if first:
        state, scale, bound, basis = _begin_after_newton(form, A, options, log)
    else:
        with labels.phase("scaling"):
            state, scale, bound, basis = _begin(form, A, options)
    identity, prepared = basis.identity, None
    if steps:
        prepared = rule.prepare(step_info(options, 0, dtype, form.squared), basis.residual)
    for step in range(steps):
        info = step_info(options, step, dtype, form.squared)
        with labels.step(first + step):
            if step > 0:
                with labels.phase("residual"):
                    basis = _basis(form, state, identity, _reads_square(options, info))
            if options.history:
                log.residuals.append(rms_norm(basis.residual))
            with labels.phase("fit"):
                chosen = rule.coefficients(info, _detached(basis), prepared)
            log.coefficients.append(chosen)
            with labels.phase("update"):
                polynomial = polynomial_of(step, basis, chosen)
                # What the next step has no use for must not be kept alive by a name.
                del basis
                # The update of the last step may skip what only a further residual would read.
                state = form.update(state, polynomial, last=step == steps - 1)
                del polynomial
    history = _history(log, options.degree, first) if options.history else ()
    return form.results(state, scale, bound), Record(log.coefficients, history)
