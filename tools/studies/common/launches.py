"""What a step of a compiled function launches, read off the code that Inductor generates."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from unittest import mock

import torch
from torch import Tensor
from torch._inductor.graph import GraphLowering

import prism_compile

from .matrices import gram
from .rules import RULES

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


# A row of the table: a name, a function, its options, and a number of steps; "adaptive" looks at the spectrum
# in fewer than 8.
TABLE: tuple[tuple[str, Callable, dict, int], ...] = (
    *((f"polar, {rule}", prism_compile.polar, {"rule": rule}, 5) for rule in RULES[:4]),
    *((f"polar, {rule}", prism_compile.polar, {"rule": rule}, 10) for rule in RULES[:2]),
    ("signm", prism_compile.signm, {}, 10),
    ("inv_sqrtm", prism_compile.inv_sqrtm, {}, 10),
    ("inv_root, p=4", prism_compile.inv_root, {"p": 4}, 5),
    ("inv_root, p=4", prism_compile.inv_root, {"p": 4}, 10),
    ("inv", prism_compile.inv, {}, 10),
)


def launches_table(device: torch.device, n: int = 48) -> list[tuple[str, int, Launches]]:
    """What a step after so many launches, a row for each function of `TABLE`."""
    A = gram((n, n), 1.0).to(device)
    return [(name, steps, further_step(call, A, steps, **own)) for name, call, own, steps in TABLE]
