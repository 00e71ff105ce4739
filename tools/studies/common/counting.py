"""Matrix products as flops over 2n³, and what a step of a compiled function launches."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from unittest import mock

import torch
from torch import Tensor
from torch._inductor.graph import GraphLowering
from torch.utils.flop_counter import FlopCounterMode, flop_registry

_aten = torch.ops.aten
# The place of the left operand in the arguments.
_PRODUCTS = {_aten.mm: 0, _aten.bmm: 0, _aten.addmm: 1, _aten.baddbmm: 1}


def flops(run: Callable[[], object]) -> int:
    """Of the products of an eager call, the sketch's skinny ones included."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def matrix_products(run: Callable[[], object], shape: torch.Size) -> float:
    """Flops over 2n³, those of an n·n·n product, per matrix of `shape` `[..., m, n]`, n the smaller side."""
    return flops(run) / (2 * min(shape[-2:]) ** 3 * shape[:-2].numel())


def operator_flops(function, args: tuple, kwargs: dict, result: object) -> int | None:
    """Of one operator, None where it is no product; what is written in place computes as much."""
    packet = getattr(torch.ops.aten, function._overloadpacket.__name__.rstrip("_"), None)
    if function.namespace != "aten" or packet not in flop_registry:
        return None
    return flop_registry[packet](*args, **kwargs, out_val=result)


def operands(function, args: tuple) -> tuple[Tensor, Tensor] | None:
    """The two matrices that an operator multiplies, None where it is no product."""
    place = _PRODUCTS.get(function._overloadpacket)
    return None if place is None else args[place : place + 2]


# Where generated code calls a library's kernel and where one of its own, in C++ and in Triton.
_LIBRARY = re.compile(r"\bextern_kernels\.\w+\(|\bcublas\w*\(")
_OWN = re.compile(r"\bcpp_fused\w*\(|\btriton_\w+\.run\(")
_SOURCE = re.compile(r"\basync_compile\.(?:cpp|cpp_pybinding|triton)\(")


@dataclass(frozen=True)
class Launches:
    """Calls of library kernels and of generated ones, and how many sources these have."""

    library: int
    own: int
    sources: int

    def __sub__(self, other: "Launches") -> "Launches":
        return Launches(self.library - other.library, self.own - other.own, self.sources - other.sources)

    def __str__(self) -> str:
        return f"{self.library} + {self.own}"


class _WrittenError(Exception):
    """Ends a compilation once its code is written: no kernel is to be compiled."""


def _code(function: Callable[[Tensor], object], A: Tensor) -> str:
    written = []

    def stop(graph: GraphLowering) -> None:
        written.append(graph.codegen()[0].value)
        raise _WrittenError

    with mock.patch.object(GraphLowering, "compile_to_module", stop):
        try:
            torch.compile(function, fullgraph=True, dynamic=False)(A)
        except Exception:
            # Dynamo raises an error of its own.
            if not written:
                raise
    return written[0]


def launches(function: Callable[[Tensor], object], A: Tensor) -> Launches:
    """Those of one compiled call, by the generated code."""
    torch._dynamo.reset()
    # A cached graph would be loaded without its code.
    with (
        torch._inductor.config.patch(fx_graph_cache=False),
        torch._functorch.config.patch(enable_autograd_cache=False),
    ):
        code = _code(function, A)
    body = code[code.index("def call(") :]
    return Launches(len(_LIBRARY.findall(body)), len(_OWN.findall(body)), len(_SOURCE.findall(code)))


def further_step(function: Callable[..., object], A: Tensor, steps: int = 5, **options) -> Launches:
    """What a run of one more step launches besides, and the sources that it needs besides."""
    longer, shorter = (launches(partial(function, steps=n, **options), A) for n in (steps + 1, steps))
    return longer - shorter
