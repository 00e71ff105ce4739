"""What a GPU would be given, read off fake tensors, which need be nowhere."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import prism_compile as pc


class Recorder(TorchDispatchMode):
    """The operations of a call, and the shapes and types of their results."""

    def __init__(self):
        super().__init__()
        self.calls: list[tuple[str, list[tuple], list[torch.dtype]]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        parts = [part for part in tree_leaves(result) if isinstance(part, torch.Tensor)]
        name = function.overloadpacket.__name__
        self.calls.append((name, [tuple(part.shape) for part in parts], [part.dtype for part in parts]))
        return result


def on_cuda(function, *shape: int, dtype: torch.dtype, **options) -> list:
    with FakeTensorMode(), Recorder() as recorder:
        function(torch.empty(*shape, device="cuda", dtype=dtype), **options)
    return recorder.calls


@pytest.mark.parametrize("batch", [(), (2,)])
def test_a_step_is_its_products_and_copies_nothing(batch):
    """What is added to a product comes with it, which for one matrix takes `addmm`."""
    runs = [
        [name for name, *_ in on_cuda(pc.polar, *batch, 6, 6, dtype=torch.bfloat16, rule="you", steps=steps)]
        for steps in (4, 5)
    ]
    further = [name for name in set(runs[1]) for _ in range(runs[1].count(name) - runs[0].count(name))]
    product = "baddbmm" if batch else "addmm"
    assert [name for name in further if "mm" in name] == [product] * 3
    assert not {"copy_", "clone", "_to_copy"} & {*further}


@pytest.mark.parametrize(
    ("shape", "batches"), [((99, 16, 16), [99]), ((40, 17, 17), [16, 16, 8]), ((2, 129, 129), [1, 1])]
)
def test_batches_are_inverted_in_parts_that_do_not_wait(shape, batches):
    calls = on_cuda(pc.signm, *shape, dtype=torch.float32, newton_steps=1, steps=2)
    assert [shapes[0][0] for name, shapes, _ in calls if name == "linalg_inv_ex"] == batches


def test_residuals_are_measured_in_the_type_itself():
    """On consumer cards float64 has a 64th of the speed; on a processor half."""
    for dtype, wide in ((torch.float32, torch.float64), (torch.complex64, torch.complex128)):
        calls = on_cuda(pc.inv_sqrtm, 6, 6, dtype=dtype, rule="taylor", history=True)
        assert wide not in {dtype for name, _, dtypes in calls if "mm" in name for dtype in dtypes}
