"""What a GPU would be given, read off fake tensors: of parts, for a CPU build of torch cannot index these."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from prism_compile._iteration.linear_algebra import (
    adjoint,
    identity_like,
    identity_minus,
    inverse,
    plus_product,
)
from prism_compile._iteration.precision import measured


class Recorder(TorchDispatchMode):
    """The operations of a call, and the shapes of their results."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        shapes = [tuple(part.shape) for part in tree_leaves(result) if isinstance(part, torch.Tensor)]
        self.calls.append((function.overloadpacket.__name__, *shapes))
        return result


def on_cuda(function, *shape: int, dtype: torch.dtype) -> list:
    with FakeTensorMode(), Recorder() as recorder:
        function(torch.empty(*shape, device="cuda", dtype=dtype))
    return recorder.calls


def test_one_matrix_is_multiplied_without_a_copy():
    def step(X):
        R = identity_minus(identity_like(X), adjoint(X), X)
        return plus_product(X, X, R, 1.5, 0.5)

    for batch, expected in ((1, ("addmm", (6, 6))), (2, ("baddbmm", (2, 6, 6)))):
        calls = on_cuda(step, batch, 6, 6, dtype=torch.bfloat16)
        assert [call for call in calls if "mm" in call[0]] == [expected] * 2


@pytest.mark.parametrize(
    ("shape", "batches"), [((99, 16, 16), [99]), ((40, 17, 17), [16, 16, 8]), ((2, 129, 129), [1, 1])]
)
def test_batches_are_inverted_in_parts(shape, batches):
    """What torch has for larger ones waits for the device."""
    calls = on_cuda(inverse, *shape, dtype=torch.float32)
    assert [call[1][0] for call in calls if call[0] == "linalg_inv_ex"] == batches
    assert calls[-1][1] == shape


def test_residuals_are_measured_in_float64_on_a_processor_alone():
    """Elsewhere it has a 64th of the speed."""
    for device, wide in (("cpu", True), ("meta", False)):
        for dtype, other in ((torch.float32, torch.float64), (torch.complex64, torch.complex128)):
            found = measured(torch.empty(2, 2, device=device, dtype=dtype)).dtype
            assert found == (other if wide else dtype)
