"""Gradients that store nothing: a backward pass is one more run of the iteration, on dual numbers.

With the fitted coefficients frozen, each result is a polynomial f(A) (or A times one in AᵀA), and the
derivative map is self-adjoint up to transposes: the vector-Jacobian product with G is

    Df(A)*[G] = (Df(A)[Gᵀ])ᵀ   for square A,      Df(A)*[G] = Df(A)[G]   for the polar factor,

i.e. the Jacobian-vector product of the same iteration with the same coefficients. Nothing is kept from
the forward pass but A and those coefficients.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ._iteration.loop import Record, step_info
from ._iteration.precision import without_autocast
from ._iteration.rules import frozen
from ._options import Options


def _per_step(fitted: Sequence[Tensor], options: Options) -> list[tuple[Tensor, ...]]:
    """The flat fitted numbers, grouped by step."""
    count = options.rule.fitted_count
    return [tuple(fitted[k * count : (k + 1) * count]) for k in range(options.steps)]


def _push(solve: Callable, options: Options, A: Tensor, fitted: Sequence[Tensor], direction: Tensor) -> tuple:
    """Df(A)[direction] of each result, with the fitted numbers of an earlier run."""
    rule = frozen(options.rule, _per_step(fitted, options))
    again = options._replace(rule=rule, history=False)
    with without_autocast(A):
        return torch.func.jvp(lambda X: solve(X, again)[0], (A,), (direction,))[1]


def _renamed(A: Tensor) -> Tensor:
    """A, as another node of the graph.

    In the same A a compiler would find the forward pass's products again, and store them all for the
    backward pass. It sees through a copy, but not through a scaling, which is exact.
    """
    return A * 0.5 * 2 if torch.compiler.is_compiling() else A


class _DualGradient(torch.autograd.Function):
    """forward(A, solve, options, square) -> results, fitted numbers, residuals, all in one tuple."""

    generate_vmap_rule = True

    @staticmethod
    def forward(A: Tensor, solve: Callable, options: Options, square: bool) -> tuple[Tensor, ...]:
        parts, record = solve(A, options)
        fitted = [number for step in record.fitted for number in step]
        return (*parts, *fitted, *record.residuals)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        A, ctx.solve, ctx.options, ctx.square = inputs
        fitted = ctx.options.steps * ctx.options.rule.fitted_count
        residuals = ctx.options.steps + 1 if ctx.options.history else 0
        ctx.results = len(output) - fitted - residuals
        ctx.constants = fitted + residuals
        ctx.mark_non_differentiable(*output[ctx.results :])
        ctx.save_for_backward(A, *output[ctx.results : ctx.results + fitted])
        ctx.save_for_forward(A, *output[ctx.results : ctx.results + fitted])

    @staticmethod
    def backward(ctx, *gradients):
        A, *fitted = ctx.saved_tensors
        total = None
        for index, gradient in enumerate(gradients[: ctx.results]):
            direction = gradient.transpose(-1, -2) if ctx.square else gradient
            pushed = _push(ctx.solve, ctx.options, _renamed(A), fitted, direction)[index]
            pushed = pushed.transpose(-1, -2) if ctx.square else pushed
            total = pushed if total is None else total + pushed
        return total, None, None, None


class _DualGradientBothModes(_DualGradient):
    """The same with forward-mode derivatives, which Dynamo refuses to trace: for eager calls."""

    @staticmethod
    def jvp(ctx, tangent, *_):
        A, *fitted = ctx.saved_tensors
        pushed = _push(ctx.solve, ctx.options, A, fitted, tangent)
        return (*pushed, *[None] * ctx.constants)


def solve_with_dual_gradient(
    solve: Callable, A: Tensor, options: Options, square: bool
) -> tuple[tuple[Tensor, ...], Record]:
    """`solve(A, options)`, differentiated by running it again.

    solve: returns a tuple of tensors and a Record; square: whether its vector-Jacobian product transposes.
    """
    function = _DualGradient if torch.compiler.is_compiling() else _DualGradientBothModes
    outputs = function.apply(A, solve, options, square)
    residual_count = options.steps + 1 if options.history else 0
    fitted_count = options.steps * options.rule.fitted_count
    parts = len(outputs) - residual_count - fitted_count
    fitted = _per_step(outputs[parts : parts + fitted_count], options)
    leading = [
        options.rule.complete(step_info(options, step), *numbers).leading(options.degree)
        for step, numbers in enumerate(fitted)
    ]
    return outputs[:parts], Record(fitted, leading, list(outputs[parts + fitted_count :]))
