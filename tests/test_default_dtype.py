"""torch's default dtype is the caller's: no result depends on it."""

import pytest
import torch

from .functions import FUNCTIONS, sample


@pytest.mark.parametrize("options", [{"steps": 4}, {"rule": "prism"}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_results_are_equal(dtype, options):
    def results():
        calls = [f(sample(name, 2).to(dtype), history=True, **options) for name, f in FUNCTIONS.items()]
        torch._dynamo.reset()
        compiled = torch.compile(FUNCTIONS["polar"], fullgraph=True, backend="aot_eager")
        return calls, compiled(sample("polar").to(dtype), **{"steps": 2, **options})

    expected, before = results(), torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        found = results()
    finally:
        torch.set_default_dtype(before)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
