"""Gradients that store nothing: a backward pass is one more run of the iteration, on dual numbers.

With the fitted coefficients frozen, each result is a polynomial f(A) (or A times one in AᴴA), and the
derivative map is self-adjoint up to adjoints: the vector-Jacobian product with G, in torch's convention for
complex A the adjoint in the inner product Re tr(XᴴY), is

    Df(A)*[G] = (Df(A)[Gᴴ])ᴴ   for square A,      Df(A)*[G] = Df(A)[G]   for the polar factor,

i.e. the Jacobian-vector product of the same iteration with the same coefficients. Nothing is kept from
the forward pass but A and those coefficients.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .._iteration.basis import Coefficients
from .._iteration.constants import traced_constant
from .._iteration.linear_algebra import adjoint
from .._iteration.loop import Record, step_info
from .._iteration.precision import ieee_float32, without_autocast
from .._rules import frozen, mixture
from .options import Options
from .results import History

Solve = Callable[[Tensor, Options], tuple[tuple[Tensor, ...], Record]]


def _per_step(free: Sequence[Tensor], options: Options, dtype: torch.dtype) -> list[Coefficients]:
    """All coefficients of each step, from the flat list of those that depend on A."""
    rule, count, first = options.rule, options.rule.free_count, options.newton_steps
    rest = free[first:]
    return [mixture(alpha) for alpha in free[:first]] + [
        rule.complete(step_info(options, k, dtype), *rest[k * count : (k + 1) * count])
        for k in range(options.steps - first)
    ]


@traced_constant
def _load_forward_mode() -> None:
    """Have torch load what its forward mode asks for at the first use.

    Doing so it calls `torch.jit.script`, and warns of that call of its own in the midst of a backward pass.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.script` is deprecated")
        forward_ad._maybe_load_decompositions()


def _push(
    solve: Solve, options: Options, A: Tensor, free: Sequence[Tensor], direction: Tensor
) -> tuple[Tensor, ...]:
    """Df(A)[direction] of each result, with the coefficients of an earlier run."""
    rule = frozen(options.rule, _per_step(free, options, A.dtype), options.newton_steps)
    again = options._replace(rule=rule, history=False)
    with without_autocast(A), ieee_float32(A):
        pushed: tuple[Tensor, ...] = torch.func.jvp(lambda X: solve(X, again)[0], (A,), (direction,))[1]
        return pushed


def _after(A: Tensor, direction: Tensor) -> Tensor:
    """A, as something that is known only when its tangent is.

    In A itself a compiler would find the forward pass's products again, and what does not depend on the
    gradient it would compute in the forward pass: both would be stored for the backward pass.
    """
    return torch.where(direction.isnan(), direction, A) if torch.compiler.is_compiling() else A


def _renamed(numbers: Sequence[Tensor]) -> list[Tensor]:
    """The coefficients as other nodes of the graph, for the same reason.

    A compiler sees through a copy, but not through a scaling, which is exact.
    """
    return [number * 0.5 * 2 for number in numbers] if torch.compiler.is_compiling() else list(numbers)


def _free(record: Record) -> list[Tensor]:
    """The coefficients of a run that depend on A, in one list."""
    return [number for step in record.coefficients for number in step if isinstance(number, Tensor)]


class _DualGradient(torch.autograd.Function):
    """forward(A, solve, options, square) -> results, free coefficients, history, all in one tuple."""

    generate_vmap_rule = True

    @staticmethod
    def forward(A: Tensor, solve: Solve, options: Options, square: bool) -> tuple[Tensor, ...]:
        results, record = solve(A, options)
        return (*results, *_free(record), *record.history)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        A, ctx.solve, ctx.options, ctx.square = inputs
        results, free, _ = _parts(output, ctx.options)
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
            direction = (adjoint(gradient) if ctx.square else gradient).contiguous()
            pushed = _push(ctx.solve, ctx.options, _after(A, direction), _renamed(free), direction)[index]
            pushed = adjoint(pushed) if ctx.square else pushed
            total = pushed if total is None else total + pushed
        return total, None, None, None


class _DualGradientBothModes(_DualGradient):
    """The same with forward-mode derivatives, which Dynamo refuses to trace: for eager calls."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        A, *free = ctx.saved_tensors
        pushed = _push(ctx.solve, ctx.options, A, free, tangent)
        return (*pushed, *[None] * ctx.constants)


def _parts(outputs: tuple[Tensor, ...], options: Options) -> tuple[tuple[Tensor, ...], ...]:
    """Results, free coefficients and history in a tuple of all three."""
    history = len(History._fields) if options.history else 0
    end = len(outputs) - history
    polynomials = options.steps - options.newton_steps
    start = end - options.newton_steps - polynomials * options.rule.free_count
    return outputs[:start], outputs[start:end], outputs[end:]


def solve_with_dual_gradient(
    solve: Solve, A: Tensor, options: Options, square: bool
) -> tuple[tuple[Tensor, ...], Record]:
    """`solve(A, options)`, differentiated by running it again.

    solve: returns a tuple of tensors and a Record; square: whether its backward pass takes adjoints.
    """
    _load_forward_mode()
    function = _DualGradient if torch.compiler.is_compiling() else _DualGradientBothModes
    apply: Callable[..., tuple[Tensor, ...]] = function.apply
    outputs = apply(A, solve, options, square)
    results, free, history = _parts(outputs, options)
    return results, Record(_per_step(free, options, A.dtype), history)
