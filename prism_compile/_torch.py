"""What rests on torch's private names, and on what its compilers do not see.

A name that torch changes is an error in the tests: where it would be silent or slow, in
tests/test_torch_names.py, which says what tests the others. All are names of torch 2.13 and 2.14.

| name                                          | what breaks without it                                     |
|-----------------------------------------------|------------------------------------------------------------|
| `_dynamo_marked_constant`                     | tables are traced, breaking the graph                      |
| `_dynamo_static_indices`,                     | under dynamic sizes tables get symbolic shapes, and each   |
| `_has_dynamo_dim_marking`                     | size a graph                                               |
| `set_code_exec_strategy`, `_FrameAction`,     | Dynamo compiles the making of a table, in minutes          |
| `_FrameExecStrategy`                          |                                                            |
| code's `co_name`                              | tables are called alike, and the compile cache mixes them  |
| `detect_fake_mode`, `_is_functional_tensor`   | tables are fake tensors of a graph that is gone            |
| `allow_non_fake_inputs`, `V.aot_compilation`  | `run_decompositions` loses tables                          |
| `_disable_current_modes`, `_set_tracing_state`| the making of a table is recorded by who calls first       |
| `temporarily_clear_interpreter_stack`         | a table made under vmap or grad is a tensor of these       |
| `_len_torch_dispatch_stack`                   | as for `allow_non_fake_inputs`; ops are cached by names    |
| `propagate_real_tensors`                      | draft export fixes sizes that offsets are a multiple of    |
| `_are_functorch_transforms_active`            | dual gradients of an op fail with an error of torch's own  |
| `current_tx`, a tracer's `source_target`      | a nested region asks where a table comes from              |
| `get_current_node`, a node's `_rename`        | an upgrade runs the code of an older version               |
| `_maybe_load_decompositions`                  | a backward pass warns of `torch.jit.script`                |
| `known_after`, `renamed`                      | a dual backward pass stores what it should recompute       |
"""

import hashlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, wraps
from itertools import accumulate
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, TypeVar

import numpy
import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch._guards import detect_fake_mode
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _disable_current_modes

Result = TypeVar("Result")


def traced_constant(function: Callable[..., Result]) -> Callable[..., Result]:
    """Cache a function of hashable arguments, and have Dynamo call it instead of tracing its arithmetic."""
    cached = cache(function)

    # Dynamo looks through a cache object; it needs a plain function to mark. torch.compiler's decorator for
    # that, assume_constant_result, would import all of Dynamo with this package.
    @wraps(function)
    def call(*arguments: Any) -> Result:
        return cached(*arguments)

    call._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return _left_alone(call)


def _left_alone(function: Callable[..., Result]) -> Callable[..., Result]:
    """Have Dynamo compile neither a function nor what it calls.

    Where Dynamo breaks a graph it goes on to compile what the frame calls, and takes minutes for the numpy
    code of a table. torch.compiler.disable would import all of Dynamo with this package.
    """
    frames = torch._C._dynamo.eval_frame
    skip = frames._FrameAction.SKIP
    strategy = frames._FrameExecStrategy(skip, skip)
    frames.set_code_exec_strategy(function.__code__, strategy)
    return function


def is_dispatched() -> bool:
    """Whether a mode sees operations before they run, as every tracer's does below Dynamo."""
    return torch._C._len_torch_dispatch_stack() > 0


def is_transformed() -> bool:
    """Whether a transform of torch.func is active."""
    return torch._C._are_functorch_transforms_active()


def _constants_are_lost(A: Tensor) -> bool:
    """Whether the graph being traced would lose tensors made beforehand.

    `ExportedProgram.run_decompositions` does: it drops the constants that an op's body brings. To
    torch.compile, told by its fake mode, and to AOTInductor they are constants as any.
    """
    mode = detect_fake_mode(A)
    if mode is not None and not mode.allow_non_fake_inputs:
        return False
    inductor = sys.modules.get("torch._inductor.virtualized")
    return inductor is None or not inductor.V.aot_compilation


# A function without arguments for each table made so far, which returns it; their names say what they are of.
_TABLES = ModuleType("prism_compile_tables")
# The same tables themselves: inputs of a graph.
_TENSORS = ModuleType("prism_compile_tensors")


def _returning(tensor: Tensor, name: str) -> Callable[[], Tensor]:
    def table() -> Tensor:
        return tensor

    # Dynamo calls the tensors of a graph by the names of the code that returned them.
    own = FunctionType(table.__code__.replace(co_name=name), {}, name, None, table.__closure__)
    own._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return own


def _in_nested_region() -> bool:
    """Whether Dynamo traces the body of a `torch.compiler.nested_compile_region`.

    It asks where a tensor of such a body comes from, and the result of a function comes from nowhere.
    """
    from torch._dynamo.symbolic_convert import InstructionTranslator

    tracer: Any = InstructionTranslator.current_tx().output.current_tracer
    while tracer is not None and tracer.source_target is not torch._higher_order_ops.invoke_subgraph:
        tracer = tracer.parent
    return tracer is not None


_in_nested_region._dynamo_marked_constant = True  # type: ignore[attr-defined]


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
            if is_transformed():
                stack.enter_context(temporarily_clear_interpreter_stack())
            yield
    finally:
        torch._C._set_tracing_state(trace)  # type: ignore[attr-defined]


def kept_tensor(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of hashable arguments, the last a device, whose tensor is made once a process.

    Called with a tensor of the caller's before those arguments. Eager calls share the tensor, and graphs of
    torch.compile and AOTInductor hold it as a constant. Where a graph would lose it, where a CUDA graph is
    captured before it is made and where there is no such device, the making is part of the caller's graph.
    """

    made: dict[tuple[Any, ...], Tensor] = {}

    @_left_alone
    def kept(*arguments: Any) -> Tensor:
        if arguments not in made:
            device = arguments[-1]
            with _apart(device):
                table = make(*arguments)
            if device.type == "cuda":
                # From now on other streams may read it.
                torch.cuda.current_stream(device).synchronize()
            # The marks of torch._dynamo.mark_static: a graph of dynamic sizes must not make symbols of these.
            table._dynamo_static_indices = set(range(table.ndim))  # type: ignore[attr-defined]
            table._has_dynamo_dim_marking = True  # type: ignore[attr-defined]
            made[arguments] = table
        return made[arguments]

    @traced_constant
    def name_of(*arguments: Any) -> str:
        # The same in every process, for it becomes part of the compile cache's key.
        words = "_".join((make.__module__, make.__name__, *map(str, arguments)))
        name = f"{make.__name__}_{hashlib.sha256(words.encode()).hexdigest()[:16]}"
        setattr(_TABLES, name, _returning(kept(*arguments), name))
        setattr(_TENSORS, name, kept(*arguments))
        return name

    @wraps(make)
    def get(like: Tensor, *arguments: Any) -> Any:
        on_cuda = arguments[-1].type == "cuda"
        # Without a device there are only fake tensors.
        if on_cuda and not torch.cuda.is_available():
            return make(*arguments)
        if torch.compiler.is_dynamo_compiling():
            name = name_of(*arguments)
            return getattr(_TENSORS, name) if _in_nested_region() else getattr(_TABLES, name)()
        # What a CUDA graph captures is not computed yet.
        if on_cuda and arguments not in made and torch.cuda.is_current_stream_capturing():
            return make(*arguments)
        if detect_fake_mode(like) is None and not torch._is_functional_tensor(like):
            return kept(*arguments)
        if _constants_are_lost(like):
            return make(*arguments)
        return torch.ops.aten.lift_fresh(kept(*arguments))

    return get


def small_tensor(numbers: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers as a tensor, also in a graph that loses the constants of an op's body: there one by one."""
    array = numpy.asarray(numbers)
    if not is_dispatched():
        return torch.tensor(array.tolist(), dtype=dtype, device=device)
    numbers = [torch.full((1,), number, dtype=dtype, device=device) for number in array.ravel().tolist()]
    return torch.cat(numbers).reshape(array.shape)


def parts_of(x: Tensor, sizes: tuple[int, ...], dim: int) -> tuple[Tensor, ...]:
    """x in parts along a dimension: views, but for draft export.

    That compares storage offsets of fake and real tensors (torch/_subclasses/fake_utils.py), and so binds a
    size that an offset is a multiple of.
    """
    if not _is_draft(x):
        parts: tuple[Tensor, ...] = x.split(sizes, dim)
        return parts
    ends = list(accumulate(sizes))
    ranges = [torch.arange(end - size, end, device=x.device) for size, end in zip(sizes, ends)]
    return tuple(x.index_select(dim, index) for index in ranges)


def unbound(x: Tensor) -> tuple[Tensor, ...]:
    """x[0], x[1] and so on; as views as in `parts_of`."""
    if not _is_draft(x):
        return x.unbind()
    return tuple(part.squeeze(0) for part in parts_of(x, (1,) * x.shape[0], 0))


def _is_draft(x: Tensor) -> bool:
    # An eager call, which has no modes, need not search for one.
    mode = None if torch.compiler.is_dynamo_compiling() or not is_dispatched() else detect_fake_mode(x)
    return mode is not None and mode.propagate_real_tensors


@traced_constant
def load_forward_mode() -> None:
    """Have torch load what its forward mode asks for at the first use.

    The first use is a backward pass, and torch then warns of its own call of `torch.jit.script`.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.script` is deprecated")
        forward_ad._maybe_load_decompositions()


def known_after(A: Tensor, direction: Tensor) -> Tensor:
    """A, as something that a compiler takes to depend on the direction.

    It would find the forward pass's products with A itself, and store them for the backward pass.
    """
    return torch.where(direction.isnan(), direction, A) if torch.compiler.is_compiling() else A


def renamed(numbers: Sequence[Tensor]) -> list[Tensor]:
    """The numbers as other nodes of the graph, for the same reason; a compiler sees through a mere copy."""
    return [number * 0.5 * 2 for number in numbers] if torch.compiler.is_compiling() else list(numbers)


@cache
def source_digest() -> str:
    """A hash of this package's source."""
    source = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
    return hashlib.sha256(source).hexdigest()[:16]


def key_compile_cache() -> None:
    """Make the source part of the compile cache's key, in a graph of Dynamo's that calls an op.

    Such a graph holds only the op's name, so that the cache on disk would serve the code of an older version.
    The key is of the graph's code, names of nodes included: that of the call takes the digest. Graphs of the
    functions hold their bodies and need no key.
    """
    dynamo = sys.modules.get("torch._dynamo.utils")
    node = None if dynamo is None else dynamo.get_current_node()
    if node is not None and source_digest() not in node.name:
        node._rename(f"{node.name}_{source_digest()}")
