"""How many operations a further step gives the device."""

import pytest
import torch

import prism_compile as pc

from .device import STAND_IN, needs_cuda, operations

pytestmark = needs_cuda


def further(function, A: torch.Tensor, compiled: bool, **options) -> int:
    counts = []
    for steps in (3, 4):
        torch._dynamo.reset()
        run = torch.compile(function) if compiled else function
        counts.append(operations(lambda run=run, steps=steps: run(A, steps=steps, **options)))
    return counts[1] - counts[0]


@pytest.mark.parametrize(
    ("shape", "dtype", "rule", "compiled", "products", "passes"),
    [
        ((1024, 1024), torch.bfloat16, "polar_express", True, 3, 0),
        ((1024, 1024), torch.bfloat16, "polar_express", False, 3, 0),
        ((1024, 1024), torch.bfloat16, "prism", True, 6, 3),
        # Of batches, and in float32, torch copies what it adds to a product.
        ((4, 64, 64), torch.bfloat16, "polar_express", True, 3, 3),
        ((4, 64, 64), torch.float32, "prism", True, 6, 6),
    ],
)
def test_a_further_step_takes_no_more_than(shape, dtype, rule, compiled, products, passes):
    A = torch.eye(shape[-1], device="cuda", dtype=dtype).expand(shape).contiguous()
    # A product is one operation on the stand-in; a device may split one in two.
    most = (1 if STAND_IN else 2) * products + passes
    assert products <= further(pc.polar, A, compiled, rule=rule) <= most
