"""torch.func.vmap of functions and ops equals the batched call, without a fallback loop."""

from functools import partial

import pytest
import torch
from torch.func import vmap

from .functions import CALLS, FUNCTIONS, OPS, assert_close, sample, tensors

EACH = pytest.mark.parametrize("name", CALLS)
pytestmark = pytest.mark.filterwarnings("error:.*performance drop")


@EACH
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_any_dimension_nested_and_batched_inside(name, dtype):
    call, A = CALLS[name], sample(name.removeprefix("op "), 2, 3, 2, dtype=dtype)
    for in_dim in (0, 1, 2, -1):
        assert_close(vmap(call, in_dims=in_dim)(A[:, 0, 0].movedim(0, in_dim)), call(A[:, 0, 0]))
    assert_close(vmap(vmap(call))(A), call(A))
    assert_close(vmap(call, in_dims=2)(A.movedim(0, 2)), call(A))
    result = vmap(call, out_dims=-1)(A[0])
    assert_close(tuple(part.movedim(-1, 0) for part in tensors(result)), tuple(tensors(call(A[0]))))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_with_history(name):
    A = sample(name, 3)
    result = vmap(lambda A: FUNCTIONS[name](A, history=True))(A)
    torch.testing.assert_close(result, FUNCTIONS[name](A, history=True), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["polar_factors", "inv_root", *(f"op {name}" for name in OPS)])
def test_under_compile(name):
    torch._dynamo.reset()
    A, call = sample(name.removeprefix("op "), 3), partial(CALLS[name], steps=2)
    compiled = torch.compile(vmap(call), fullgraph=True, backend="aot_eager")
    assert_close(compiled(A), call(A))
