"""Gradients that store nothing: a backward pass is one more run of the iteration, on dual numbers.

With the fitted coefficients frozen, each result is a polynomial f(A) (or A times one in AᴴA), and the
derivative map is self-adjoint up to adjoints: the vector-Jacobian product with G, in torch's convention for
complex A the adjoint in the inner product Re tr(XᴴY), is

    Df(A)*[G] = (Df(A)[Gᴴ])ᴴ   for square A,      Df(A)*[G] = Df(A)[G]   for the polar factor,

i.e. the Jacobian-vector product of the same iteration with the same coefficients. Nothing is kept from
the forward pass but A and those coefficients.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .._iteration.basis import Coefficients
from .._iteration.linear_algebra import adjoint
from .._iteration.loop import Record
from .._iteration.newton import mixture
from .._iteration.precision import ieee_float32, without_autocast
from .._iteration.rule import Options, StepInfo, frozen, step_info
from .._torch import is_transformed, known_after, load_forward_mode, renamed

# The parts of a record's history.
_OF_STEPS = 3
Solve = Callable[[Tensor, Options], tuple[tuple[Tensor, ...], Record]]


class Call(NamedTuple):
    """What a run is but for its matrices: of what function and by what options.

    solve: returns a tuple of results and a Record. adjoints: whether its backward pass takes them. squared:
    as in `Form`.
    """

    solve: Solve
    options: Options
    adjoints: bool
    squared: bool

    def infos(self, dtype: torch.dtype) -> list[StepInfo]:
        """Of the polynomial steps."""
        count = self.options.steps - self.options.newton_steps
        return [step_info(self.options, k, dtype, self.squared) for k in range(count)]

    def free_count(self, dtype: torch.dtype) -> int:
        """How many coefficients of all steps depend on A."""
        return self.options.newton_steps + sum(map(self.options.rule.free_count, self.infos(dtype)))


def _per_step(free: Sequence[Tensor], call: Call, dtype: torch.dtype) -> list[Coefficients]:
    """All coefficients of each step, from the flat list of those that depend on A."""
    rule, first = call.options.rule, call.options.newton_steps
    found, rest = [mixture(alpha) for alpha in free[:first]], list(free[first:])
    for info in call.infos(dtype):
        own, rest = rest[: rule.free_count(info)], rest[rule.free_count(info) :]
        found.append(rule.complete(info, *own))
    return found


def _push(call: Call, A: Tensor, free: Sequence[Tensor], direction: Tensor) -> tuple[Tensor, ...]:
    """Df(A)[direction] of each result, with the coefficients of an earlier run."""
    solve, options = call.solve, call.options
    rule = frozen(options.rule, _per_step(free, call, A.dtype), options.newton_steps)
    again = options._replace(rule=rule, history=False)
    with without_autocast(A), ieee_float32(A):
        pushed: tuple[Tensor, ...] = torch.func.jvp(lambda X: solve(X, again)[0], (A,), (direction,))[1]
        return pushed


def _free(record: Record) -> list[Tensor]:
    """The coefficients of a run that depend on A, in one list."""
    return [number for step in record.coefficients for number in step if isinstance(number, Tensor)]


class _DualGradient(torch.autograd.Function):
    """forward(A, call) -> results, free coefficients, history, all in one tuple."""

    generate_vmap_rule = True

    @staticmethod
    def forward(A: Tensor, call: Call) -> tuple[Tensor, ...]:
        results, record = call.solve(A, call.options)
        return (*results, *_free(record), *record.history)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        A, ctx.call = inputs
        results, free, _ = _parts(output, ctx.call, A.dtype)
        ctx.results, ctx.constants = len(results), len(output) - len(results)
        ctx.mark_non_differentiable(*output[ctx.results :])
        ctx.save_for_backward(A, *free)
        ctx.save_for_forward(A, *free)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        A, *free = ctx.saved_tensors
        total = None
        for index, gradient in enumerate(gradients[: ctx.results]):
            # A tangent laid out unlike A has no place where sizes are symbolic.
            direction = (adjoint(gradient) if ctx.call.adjoints else gradient).contiguous()
            pushed = _push(ctx.call, known_after(A, direction), renamed(free), direction)[index]
            pushed = adjoint(pushed) if ctx.call.adjoints else pushed
            total = pushed if total is None else total + pushed
        return total, None


class _DualGradientBothModes(_DualGradient):
    """The same with forward-mode derivatives, which Dynamo refuses to trace: for eager calls."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        A, *free = ctx.saved_tensors
        pushed = _push(ctx.call, A, free, tangent)
        return (*pushed, *[None] * ctx.constants)


def _parts(outputs: tuple[Tensor, ...], call: Call, dtype: torch.dtype) -> tuple[tuple[Tensor, ...], ...]:
    """Results, free coefficients and history in a tuple of all three."""
    end = len(outputs) - (_OF_STEPS if call.options.history else 0)
    start = end - call.free_count(dtype)
    return outputs[:start], outputs[start:end], outputs[end:]


def solve_with_dual_gradient(A: Tensor, call: Call) -> tuple[tuple[Tensor, ...], Record]:
    """`call.solve(A, call.options)`, differentiated by running it again."""
    load_forward_mode()
    eager = not (torch.compiler.is_compiling() or is_transformed())
    if eager and forward_ad.unpack_dual(A).tangent is not None:
        # That of `_push` would be a second level, which torch has not; and forward mode keeps nothing anyway.
        return call.solve(A, call.options)
    function = _DualGradient if torch.compiler.is_compiling() else _DualGradientBothModes
    apply: Callable[..., tuple[Tensor, ...]] = function.apply
    results, free, history = _parts(apply(A, call), call, A.dtype)
    return results, Record(_per_step(free, call, A.dtype), history)
