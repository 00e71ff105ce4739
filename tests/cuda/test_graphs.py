"""Every function and rule compiles for CUDA, waits for nothing, and may be captured."""

from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from prism_compile import pinv_root, polar
from prism_compile._rules import RULES

from ..functions import FUNCTIONS, OPS, sample
from .device import captured, needs_cuda, without_waits

pytestmark = [needs_cuda, pytest.mark.usefixtures("fresh_dynamo")]

# Each function by its default rule, each rule, and what takes other code.
CALLS = {name: (function, {}) for name, function in FUNCTIONS.items()}
CALLS |= {f"polar {rule}": (FUNCTIONS["polar"], {"rule": rule}) for rule in RULES}
CALLS |= {f"{name} history": (FUNCTIONS[name], {"history": True}) for name in ("polar", "sqrtm", "inv_root")}
CALLS |= {f"{name} newton": (FUNCTIONS[name], {"newton_steps": 1}) for name in ("signm", "sqrtm_pair")}
CALLS |= {
    "polar gram": (FUNCTIONS["polar"], {"form": "gram"}),
    "polar degree 1": (FUNCTIONS["polar"], {"degree": 1}),
    "inv_sqrtm eps": (FUNCTIONS["inv_sqrtm"], {"eps": 1e-3}),
    "op": (OPS["polar"], {}),
}
EACH = pytest.mark.parametrize("name", CALLS)


def call_of(name: str):
    function, options = CALLS[name]
    return partial(function, steps=2, **options)


def matrices(name: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return sample(name.split()[0] if name != "op" else "polar", 3, n=24).to("cuda", dtype)


@EACH
def test_an_eager_call_is_captured(name):
    A = matrices(name)
    captured(lambda: call_of(name)(A))


@EACH
@pytest.mark.parametrize("dynamic", [False, True])
def test_it_compiles_and_waits_for_nothing(name, dynamic):
    A = matrices(name)
    compiled = torch.compile(call_of(name), fullgraph=True, dynamic=dynamic)
    compiled(A)
    captured(lambda: compiled(A))


@pytest.mark.parametrize("name", [*FUNCTIONS, "polar polar_express", "op"])
def test_reduce_overhead_is_one_cuda_graph(name):
    A = matrices(name)
    compiled = torch.compile(call_of(name), fullgraph=True, mode="reduce-overhead", dynamic=True)
    counters.clear()
    # Warming up, recording, replaying.
    for _ in range(3):
        torch.compiler.cudagraph_mark_step_begin()
        compiled(A)
    with without_waits():
        compiled(A)
    found = counters["inductor"]
    assert found["cudagraph_skips"] == 0
    assert found["cudagraph_partitions"] <= 1
    # There is one: it has a place for the input.
    assert found["cudagraph_recorded_non_static_inputs"] > 0


# By cuBLAS all at once, by cuSOLVER a few at once, and one after the other; all else is MAGMA's.
@pytest.mark.parametrize("shape", [(200, 12, 12), (40, 96, 96), (3, 160, 160)])
def test_inverses_and_determinants_of_batches_are_captured(shape):
    A = torch.eye(shape[-1], device="cuda").expand(shape).contiguous()
    for name in ("polar", "signm", "inv_sqrtm"):
        captured(lambda name=name: FUNCTIONS[name](A, steps=2, newton_steps=1, rule="prism"))
    captured(lambda: FUNCTIONS["polar"](A, steps=2, rotation=True, rule="prism"))


@pytest.mark.parametrize(
    "function", [partial(pinv_root, p=2, rtol=0.1), partial(polar, steps=2, rotation=True)]
)
def test_what_reads_an_end_of_the_spectrum_compiles_and_waits_for_nothing(function):
    A = torch.eye(24, device="cuda").expand(3, 24, 24).contiguous()
    compiled = torch.compile(function, fullgraph=True, dynamic=True)
    compiled(A)
    captured(lambda: compiled(A))
