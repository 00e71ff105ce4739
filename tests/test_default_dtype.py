"""torch's default dtype is the caller's: no result depends on it."""

import pytest
import torch

from .functions import FUNCTIONS, sample, tensors


@pytest.fixture
def float64_by_default():
    before = torch.get_default_dtype()

    def switch() -> None:
        torch.set_default_dtype(torch.float64)

    yield switch
    torch.set_default_dtype(before)


@pytest.mark.parametrize("options", [{}, {"steps": 4}, {"rule": "prism"}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_are_equal(name, dtype, options, float64_by_default):
    A = sample(name, 2).to(dtype)
    expected = FUNCTIONS[name](A, history=True, **options)
    float64_by_default()
    result = FUNCTIONS[name](A, history=True, **options)
    for part, reference in zip((*tensors(result[0]), *result[1]), (*tensors(expected[0]), *expected[1])):
        assert part.dtype == reference.dtype
        assert torch.equal(part, reference)


def test_a_compiled_result_is_equal(float64_by_default):
    A = sample("polar", n=8).float()
    results = []
    for switch in (lambda: None, float64_by_default):
        switch()
        torch._dynamo.reset()
        compiled = torch.compile(FUNCTIONS["polar"], fullgraph=True, backend="aot_eager")
        results.append(compiled(A, steps=3, rule="prism"))
    assert torch.equal(*results)
