"""The driver of every function: options, checks, batches, the iteration, and A's shape again."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy
from torch.masked import MaskedTensor

from .._iteration import labels
from .._iteration.form import Form, Result
from .._iteration.linear_algebra import diagonal, identity_like, quotient, resolved
from .._iteration.loop import Record, iterate
from .._iteration.precision import at_least_float32, ieee_float32, measured, without_autocast
from .._iteration.rule import Options
from .._iteration.scaling import magnitude, nonzero
from .gradient import Call, solve_with_dual_gradient
from .numbers import check_number
from .options import options_for
from .results import History

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex128, torch.complex64)


def check_matrix(A: object, square: bool) -> None:
    """Refuse what is no matrix, or no square one, with an error that says what it was."""
    if not isinstance(A, Tensor):
        hint = ": torch.fx.symbolic_trace records calls of torch.ops.prism.*" if isinstance(A, Proxy) else ""
        raise TypeError(f"A must be a torch.Tensor, got {type(A).__name__}{hint}")
    masked = isinstance(A, MaskedTensor)
    if A.layout is not torch.strided or A.is_nested or masked:
        kind = "a MaskedTensor" if masked else "a nested tensor" if A.is_nested else f"layout {A.layout}"
        raise TypeError(f"A must be a dense torch.Tensor (layout torch.strided), got {kind}")
    if A.dtype not in DTYPES:
        allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        raise TypeError(f"A must be floating-point or complex ({allowed}), got {A.dtype}")
    if A.ndim < 2:
        raise ValueError(f"A must have at least 2 dimensions [..., m, n], got shape {tuple(A.shape)}")
    if square and A.shape[-1] != A.shape[-2]:
        raise ValueError(f"A must be square [..., n, n], got shape {tuple(A.shape)}")


def _check_square_only(A: Tensor, options: Options) -> None:
    """Refuse what a matrix that is not square, or not real, has not: an inverse, a rotation."""
    # Sizes are compared where an option asks only, for a graph of symbolic ones would be bound by it.
    if options.newton_steps and A.shape[-1] != A.shape[-2]:
        raise ValueError(
            f"newton_steps must be 0 for a matrix that is not square, got {options.newton_steps} "
            f"for A of shape {tuple(A.shape)}"
        )
    if options.rotation and (A.is_complex() or A.shape[-1] != A.shape[-2]):
        raise ValueError(
            f"rotation must be False for a matrix that is not real and square, got True for A of shape "
            f"{tuple(A.shape)} and {A.dtype}"
        )


def check_damping(name: str, value: object) -> float:
    """A damping as a Python number; refuses what is no non-negative number."""
    value = check_number(name, value, "≥ 0")
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be finite and ≥ 0, got {value}")
    return value


def damped(A: Tensor, eps: float, ridge: float) -> Tensor:
    """A + (eps·tr(A)/n + ridge) I, with the real part of the trace."""
    if eps == 0 and ridge == 0:
        return A
    shift: Tensor | float = ridge
    if eps != 0:
        n = max(A.shape[-1], 1)
        real = A.real if A.is_complex() else A
        shift = eps * (diagonal(real) / n).sum(dim=-1)[:, None, None] + ridge
    return A + shift * identity_like(A)


def _history(
    kind: type[Form[Any]], A: Tensor, options: Options, parts: list[Tensor], record: Record
) -> tuple[Tensor, ...]:
    """What `History` holds, for a batch; of the results as they are returned, rounded."""
    residuals, *coefficients = record.history
    A = measured(A.detach())
    scale = nonzero(magnitude(A))
    results = (measured(part.detach()) for part in parts)
    last, asymmetry = kind.deviation(quotient(A, scale), scale, options.p, *results)
    residuals = torch.cat([residuals, last[:, None].to(residuals.dtype)], dim=-1)
    return residuals, *coefficients, asymmetry.to(residuals.dtype)


def run(
    kind: type[Form[Result]], /, *, A: Tensor, eps: float = 0.0, ridge: float = 0.0, **given: Any
) -> Result | tuple[Result, History]:
    """The function of A that a form is, for the options that its caller gave.

    A is run as a batch `[b, m, n]`, in float32 where it has 16 bits and the form cannot use them; the result
    has A's batch shape and type. With `history` it is `(result, History)`.
    """
    options = options_for(kind, **given)
    check_matrix(A, square=not kind.rectangular)
    _check_square_only(A, options)
    eps, ridge = check_damping("eps", eps), check_damping("ridge", ridge)
    shape, dtype = A.shape[:-2], A.dtype

    def solve(batch: Tensor, options: Options) -> tuple[tuple[Tensor, ...], Record]:
        return iterate(kind(batch, options), batch, options)

    def restore(tensor: Tensor) -> Tensor:
        return resolved(tensor).reshape((*shape, *tensor.shape[1:]))

    # Errors are raised before: one inside a context that Dynamo resumes in breaks the compiled calls to come.
    with labels.function(kind.name), without_autocast(A), ieee_float32(A):
        batch = A[None] if A.ndim == 2 else A.flatten(0, -3)
        if not kind.half_native or options.newton_steps or options.rotation:
            batch = batch.to(at_least_float32(dtype))
        batch = damped(batch, eps, ridge)
        if options.gradient == "dual":
            call = Call(solve, options, adjoints=not kind.rectangular, squared=kind.squared)
            results, record = solve_with_dual_gradient(batch, call)
        else:
            results, record = solve(batch, options)
        result = kind.finished(batch, options, *results)
        parts = [part.to(dtype) for part in (result if isinstance(result, tuple) else (result,))]
        history = _history(kind, batch, options, parts, record) if options.history else ()
        whole: Any = tuple(map(restore, parts))
        result = type(result)(*whole) if isinstance(result, tuple) else whole[0]
        return (result, History(*map(restore, history))) if options.history else result
