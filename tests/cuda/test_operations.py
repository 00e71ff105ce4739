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


# A product is one operation on the stand-in; a device may split one in two.
@pytest.mark.parametrize(
    ("rule", "compiled", "products", "passes"),
    [("polar_express", True, 3, 0), ("polar_express", False, 3, 0), ("prism", True, 6, 3)],
)
def test_one_matrix_in_half_precision(rule, compiled, products, passes):
    A = torch.eye(1024, device="cuda", dtype=torch.bfloat16)
    most = (1 if STAND_IN else 2) * products + passes
    assert products <= further(pc.polar, A, compiled, rule=rule) <= most


# Of batches, and in float32, torch copies what it adds to a product.
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("rule", "products", "passes"), [("polar_express", 3, 3), ("prism", 6, 6)])
def test_a_batch(dtype, rule, products, passes):
    A = torch.eye(64, device="cuda", dtype=dtype).expand(4, 64, 64).contiguous()
    most = (1 if STAND_IN else 2) * products + passes
    assert products <= further(pc.polar, A, True, rule=rule) <= most
