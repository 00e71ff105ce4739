"""torch's default dtype is the caller's: no result depends on it."""

import pytest
import torch

from .functions import FUNCTIONS, sample, tensors
from .matrices import spd


@pytest.fixture
def float64_by_default():
    before = torch.get_default_dtype()

    def switch() -> None:
        torch.set_default_dtype(torch.float64)

    yield switch
    torch.set_default_dtype(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_are_equal(name, dtype, float64_by_default):
    A = sample(name, 2).to(dtype)
    expected = FUNCTIONS[name](A, history=True)
    float64_by_default()
    result = FUNCTIONS[name](A, history=True)
    for part, reference in zip((*tensors(result[0]), *result[1]), (*tensors(expected[0]), *expected[1])):
        assert part.dtype == reference.dtype
        assert torch.equal(part, reference)


@pytest.mark.parametrize("rule", ["adaptive", "polar_express"])
def test_other_rules_are_equal(rule, float64_by_default):
    A = spd(12, 10.0).float()
    expected = FUNCTIONS["inv_sqrtm"](A, rule=rule)
    float64_by_default()
    assert torch.equal(FUNCTIONS["inv_sqrtm"](A, rule=rule), expected)


def test_the_fourth_root_is_equal(float64_by_default):
    A = spd(12, 10.0).float()
    expected = torch.ops.prism.inv_root(A, 4)
    float64_by_default()
    assert torch.equal(torch.ops.prism.inv_root(A, 4), expected)


def test_a_compiled_result_is_equal(float64_by_default):
    A = sample("polar", n=8).float()
    results = []
    for switch in (lambda: None, float64_by_default):
        switch()
        torch._dynamo.reset()
        compiled = torch.compile(FUNCTIONS["polar"], fullgraph=True, backend="aot_eager")
        results.append(compiled(A, steps=3, rule="prism"))
    assert torch.equal(*results)
