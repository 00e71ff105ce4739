"""torch.func.vmap of functions and ops equals the batched call, without a fallback loop."""

import warnings

import pytest
import torch
from torch.func import vmap

from .functions import FUNCTIONS, OPS, sample, tensors

CALLS = FUNCTIONS | {f"op {name}": op for name, op in OPS.items()}
EACH = pytest.mark.parametrize("name", CALLS)


@pytest.fixture(autouse=True)
def no_fallback():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*performance drop.*")
        yield


def check(result, expected) -> None:
    for part, reference in zip(tensors(result), tensors(expected), strict=True):
        torch.testing.assert_close(part, reference, rtol=0, atol=1e-12)


@EACH
@pytest.mark.parametrize("in_dim", [0, 1, 2, -1])
def test_any_dimension(name, in_dim):
    A = sample(name.removeprefix("op "), 3)
    moved = A.movedim(0, in_dim)
    check(vmap(CALLS[name], in_dims=in_dim)(moved), CALLS[name](A))


@EACH
def test_nested_and_batched_inside(name):
    A = sample(name.removeprefix("op "), 2, 3, 2)
    check(vmap(vmap(CALLS[name]))(A), CALLS[name](A))
    check(vmap(CALLS[name], in_dims=2)(A.movedim(0, 2)), CALLS[name](A))


@EACH
def test_out_dims(name):
    A = sample(name.removeprefix("op "), 3)
    result = vmap(CALLS[name], out_dims=-1)(A)
    for part, reference in zip(tensors(result), tensors(CALLS[name](A))):
        torch.testing.assert_close(part.movedim(-1, 0), reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_with_history(name):
    A = sample(name, 3)
    result, log = vmap(lambda A: FUNCTIONS[name](A, history=True))(A)
    expected, reference = FUNCTIONS[name](A, history=True)
    check(result, expected)
    check(log, reference)


@EACH
def test_under_compile(name):
    torch._dynamo.reset()
    A = sample(name.removeprefix("op "), 3)
    compiled = torch.compile(vmap(CALLS[name]), fullgraph=True, backend="aot_eager")
    check(compiled(A), CALLS[name](A))
