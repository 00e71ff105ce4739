"""Results of the device against float64 decompositions on the CPU; `properties` asks of eager calls."""

from functools import partial

import pytest
import torch

import prism_compile as pc

from ..functions import FUNCTIONS
from ..matrices import eigh_power, relative_error, spd, svd_polar
from ..tf32 import matmul_precision
from .device import captured, needs_cuda, needs_values

pytestmark = [needs_cuda, needs_values]
CONDITION = 100.0
A = spd(64, CONDITION)
ORACLES = {
    "polar": svd_polar,
    "sqrtm": partial(eigh_power, exponent=0.5),
    "inv_sqrtm": partial(eigh_power, exponent=-0.5),
    "inv_root": partial(eigh_power, exponent=-1 / 3),
    "inv": torch.linalg.inv,
}
EACH = pytest.mark.parametrize("name", ORACLES)
# Rounding of A moves each of them by at most eps·condition, and 64 sums of products by a few times that.
BAR = 4 * torch.finfo(torch.float32).eps * CONDITION


def error(name: str, found: torch.Tensor) -> float:
    return relative_error(found.cpu(), ORACLES[name](A))


@EACH
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("run", ["compiled", "captured"])
def test_float32(name, batch, run):
    torch._dynamo.reset()
    on_device = A.to("cuda", torch.float32).expand(batch, -1, -1).contiguous()
    function = partial(FUNCTIONS[name], steps=20, rule="prism")
    found = torch.compile(function)(on_device) if run == "compiled" else captured(lambda: function(on_device))
    assert all(error(name, part) < BAR for part in found)


# As many as are inverted all at once, a few at once, and one after the other.
@pytest.mark.parametrize(("batch", "n"), [(20, 16), (20, 64), (2, 160)])
def test_newton_steps_of_a_batch(batch, n):
    one = spd(n, CONDITION)
    on_device = one.to("cuda", torch.float32).expand(batch, n, n).contiguous()
    for part in pc.inv_sqrtm(on_device, steps=8, newton_steps=8):
        assert relative_error(part.cpu(), eigh_power(one, -0.5)) < BAR


@EACH
def test_eager_calls_run_in_ieee_float32(name):
    with matmul_precision("high"):
        found = FUNCTIONS[name](A.to("cuda", torch.float32), steps=20, rule="prism")
        assert torch.get_float32_matmul_precision() == "high"
    assert error(name, found) < BAR


def test_two_streams_give_one_result():
    on_device = A.to("cuda", torch.float32)
    expected = pc.polar(on_device)
    streams = [torch.cuda.Stream() for _ in range(2)]
    torch.cuda.synchronize()
    found = []
    for stream in streams:
        with torch.cuda.stream(stream):
            found.append(pc.polar(on_device))
    torch.cuda.synchronize()
    assert all(torch.equal(U, expected) for U in found)
