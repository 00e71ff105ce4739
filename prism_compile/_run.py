"""From a caller's tensor to an iteration's `[b, m, n]` batch and back."""

from collections.abc import Callable

from torch import Tensor

from ._gradient import solve_with_dual_gradient
from ._iteration.loop import history_of
from ._iteration.precision import accumulation_dtype, without_autocast
from ._options import Options
from ._results import History


def run_on_batch(
    solve: Callable,
    A: Tensor,
    options: Options,
    *,
    prepare: Callable[[Tensor], Tensor] | None = None,
    finish: Callable | None = None,
    half_native: bool = False,
    square: bool = True,
) -> Tensor | tuple:
    """Call `solve(A [b, m, n], options) -> (parts, Record)` and restore A's batch shape.

    `prepare(batch)` and `finish(batch, *parts)` are what a function does besides its iteration; without
    `finish` the result is the first part. Half precision is computed in float32 and rounded at the end
    unless `half_native`. With `options.history` the result is `(result, History)`.
    """
    shape, dtype = A.shape[:-2], A.dtype
    with without_autocast(A):
        batch = A[None] if A.ndim == 2 else A.flatten(0, -3)
        if not half_native:
            batch = batch.to(accumulation_dtype(dtype))
        if prepare is not None:
            batch = prepare(batch)
        if options.gradient == "dual":
            parts, record = solve_with_dual_gradient(solve, batch, options, square)
        else:
            parts, record = solve(batch, options)
        result = parts[0] if finish is None else finish(batch, *parts)

    def restore(tensor: Tensor) -> Tensor:
        return tensor.reshape(*shape, *tensor.shape[1:])

    if isinstance(result, tuple):
        result = type(result)(*(restore(part).to(dtype) for part in result))
    else:
        result = restore(result).to(dtype)
    if not options.history:
        return result
    return result, History(*map(restore, history_of(record)))
