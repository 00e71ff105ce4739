"""From a caller's tensor to an iteration's `[b, m, n]` batch and back."""

from collections.abc import Callable
from typing import Any, TypeVar, overload

from torch import Tensor

from .._iteration.form import Form
from .._iteration.linear_algebra import resolved
from .._iteration.loop import Record, iterate
from .._iteration.precision import at_least_float32, ieee_float32, without_autocast
from .gradient import Run, solve_with_dual_gradient
from .options import Options
from .results import History

Result = TypeVar("Result")


@overload
def run_on_batch(
    form_for: Callable[[Tensor, Options], Form],
    A: Tensor,
    options: Options,
    *,
    prepare: Callable[[Tensor], Tensor] | None = None,
    finish: None = None,
    half_native: bool = False,
    square: bool = True,
) -> Tensor | tuple[Tensor, History]: ...


@overload
def run_on_batch(
    form_for: Callable[[Tensor, Options], Form],
    A: Tensor,
    options: Options,
    *,
    prepare: Callable[[Tensor], Tensor] | None = None,
    finish: Callable[..., Result],
    half_native: bool = False,
    square: bool = True,
) -> Result | tuple[Result, History]: ...


def run_on_batch(
    form_for: Callable[[Tensor, Options], Form],
    A: Tensor,
    options: Options,
    *,
    prepare: Callable[[Tensor], Tensor] | None = None,
    finish: Callable[..., Any] | None = None,
    half_native: bool = False,
    square: bool = True,
) -> Any:
    """Run the form for A as a batch `[b, m, n]`, and give its result A's batch shape.

    `prepare(batch)` and `finish(batch, *results)` are what a function does besides its iteration; without
    `finish` the result is the form's first. Half precision is computed in float32 and rounded at the end
    unless `half_native`. With `options.history` the result is `(result, History)`.
    square: whether the vector-Jacobian product takes adjoints, see `gradient.py`.
    """
    shape, dtype = A.shape[:-2], A.dtype

    def solve(batch: Tensor, options: Options) -> tuple[tuple[Tensor, ...], Record]:
        return iterate(form_for(batch, options), batch, options)

    with without_autocast(A), ieee_float32(A):
        batch = A[None] if A.ndim == 2 else A.flatten(0, -3)
        if not half_native:
            batch = batch.to(at_least_float32(dtype))
        if prepare is not None:
            batch = prepare(batch)
        if options.gradient == "dual":
            run = Run(solve, options, square, form_for(batch, options).squared)
            results, record = solve_with_dual_gradient(batch, run)
        else:
            results, record = solve(batch, options)
        result = results[0] if finish is None else finish(batch, *results)

    def restore(tensor: Tensor) -> Tensor:
        return resolved(tensor).reshape((*shape, *tensor.shape[1:]))

    if isinstance(result, tuple):
        result = type(result)(*(restore(part).to(dtype) for part in result))
    else:
        result = restore(result).to(dtype)
    if not options.history:
        return result
    return result, History(*map(restore, record.history))
