"""Numbers that are finished while a graph is traced."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, wraps
from types import FunctionType, ModuleType
from typing import Any, TypeVar

import torch
from numpy import ndarray
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch._guards import detect_fake_mode
from torch.utils._python_dispatch import _disable_current_modes

Result = TypeVar("Result")


def traced_constant(function: Callable[..., Result]) -> Callable[..., Result]:
    """Cache a function of hashable arguments, and have Dynamo call it instead of tracing its arithmetic."""
    cached = cache(function)

    # Dynamo looks through a cache object; it needs a plain function to mark.
    @wraps(function)
    def call(*arguments: Any) -> Result:
        return cached(*arguments)

    # The mark of torch.compiler.assume_constant_result, which would import all of Dynamo with this package.
    call._dynamo_marked_constant = True  # type: ignore[attr-defined]  # Dynamo's own
    return call


def _is_traced(A: Tensor) -> bool:
    """Whether torch records operations on A rather than runs them."""
    return detect_fake_mode(A) is not None or torch._is_functional_tensor(A)


def _constants_are_lost(A: Tensor) -> bool:
    """Whether the graph being traced would lose tensors made beforehand.

    `ExportedProgram.run_decompositions` does: it drops the constants that an op's body brings. To
    torch.compile, told by its fake mode, and to AOTInductor they are constants as any.
    """
    if not getattr(detect_fake_mode(A), "allow_non_fake_inputs", True):
        return False
    inductor = sys.modules.get("torch._inductor.virtualized")
    return inductor is None or not inductor.V.aot_compilation


# For each table made so far a function without arguments that returns it, by a name of its own.
_TABLES = ModuleType("prism_compile_tables")


def _returning(tensor: Tensor, name: str) -> Callable[[], Tensor]:
    def table() -> Tensor:
        return tensor

    # Dynamo calls the tensors of a graph by the names of the code that returned them.
    own = FunctionType(table.__code__.replace(co_name=name), {}, name, None, table.__closure__)
    own._dynamo_marked_constant = True  # type: ignore[attr-defined]  # Dynamo's own
    return own


@contextmanager
def _apart(device: torch.device) -> Iterator[None]:
    """Nothing of what the caller's code runs under: modes, transforms, a trace, autocast, autograd."""
    trace = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
    try:
        with ExitStack() as stack:
            for context in (_disable_current_modes(), torch.inference_mode(False), torch.no_grad()):
                stack.enter_context(context)
            if device.type != "meta":
                stack.enter_context(torch.autocast(device.type, enabled=False))
            if torch._C._are_functorch_transforms_active():
                stack.enter_context(temporarily_clear_interpreter_stack())
            yield
    finally:
        torch._C._set_tracing_state(trace)  # type: ignore[attr-defined]


def _is_captured(device: torch.device) -> bool:
    """Whether operations on the device go into a CUDA graph, and are not computed now."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _is_absent(device: torch.device) -> bool:
    """Whether only fake tensors can be on the device."""
    return device.type == "cuda" and not torch.cuda.is_available()


def kept_tensor(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of hashable arguments, the last a device, whose tensor is made once a process.

    Called with a tensor of the caller's before those arguments. Eager calls share the tensor, and graphs of
    torch.compile and AOTInductor hold it as a constant. Where a graph would lose it, where a CUDA graph is
    captured before it is made and where there is no such device, the making is part of the caller's graph.
    """

    made: dict[tuple[Any, ...], Tensor] = {}

    def kept(*arguments: Any) -> Tensor:
        if arguments not in made:
            device = arguments[-1]
            with _apart(device):
                table = make(*arguments)
            if device.type == "cuda":
                # From now on other streams may read it.
                torch.cuda.current_stream(device).synchronize()
            # The marks of torch._dynamo.mark_static: a graph of dynamic sizes must not make symbols of these.
            table._dynamo_static_indices = set(range(table.ndim))  # type: ignore[attr-defined]  # Dynamo's own
            table._has_dynamo_dim_marking = True  # type: ignore[attr-defined]  # Dynamo's own
            made[arguments] = table
        return made[arguments]

    @traced_constant
    def name_of(*arguments: Any) -> str:
        # The same in every process, for it becomes part of the compile cache's key.
        words = "_".join((make.__module__, make.__name__, *map(str, arguments)))
        name = f"{make.__name__}_{hashlib.sha256(words.encode()).hexdigest()[:16]}"
        setattr(_TABLES, name, _returning(kept(*arguments), name))
        return name

    @wraps(make)
    def get(like: Tensor, *arguments: Any) -> Any:
        if _is_absent(arguments[-1]):
            return make(*arguments)
        if torch.compiler.is_dynamo_compiling():
            return getattr(_TABLES, name_of(*arguments))()
        if arguments not in made and _is_captured(arguments[-1]):
            return make(*arguments)
        if not _is_traced(like):
            return kept(*arguments)
        if _constants_are_lost(like):
            return make(*arguments)
        return torch.ops.aten.lift_fresh(kept(*arguments))

    get.make = make  # type: ignore[attr-defined]  # for tools
    return get


def small_tensor(numbers: ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
    """An array's numbers as a tensor, also in a graph that loses the constants of an op's body.

    Then they are selected by an index, in a graph that is long but whole.
    """
    if torch._C._len_torch_dispatch_stack() == 0:
        return torch.tensor(numbers.tolist(), dtype=dtype, device=device)
    index = torch.arange(numbers.size, device=device)
    total = torch.zeros(numbers.size, dtype=dtype, device=device)
    for place, number in enumerate(numbers.ravel().tolist()):
        total = torch.where(index == place, number, total)
    return total.reshape(numbers.shape)


def in_memory(x: Tensor) -> Tensor:
    """x itself, contiguous; Inductor, which would compute it at each use, writes it out for this view."""
    # Flat, for a view of the same strides is removed.
    return x.as_strided((x.numel(),), (1,)).reshape(x.shape)
