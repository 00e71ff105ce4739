"""What `_torch.py` makes: constants of graphs, and tables that are made once."""

import pytest
import torch
from torch._dynamo.testing import EagerAndRecordGraphs
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from prism_compile._torch import kept_tensor, small_tensor, traced_constant

from .matrices import gaussian


@traced_constant
def thirds(count: int) -> tuple[float, ...]:
    # What Dynamo cannot trace: it would break the graph.
    return tuple(float(f"{k / 3:.3f}") for k in range(count))


def test_a_traced_constant_is_computed_once_and_not_traced():
    assert thirds(4) is thirds(4)
    recorder = EagerAndRecordGraphs()
    compiled = torch.compile(lambda A: A * thirds(3)[2], fullgraph=True, backend=recorder)
    assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 0.667))
    (graph,) = recorder.graphs
    assert sum(node.op.startswith("call") for node in graph.graph.nodes) == 1


class Seen(TorchDispatchMode):
    """The operations that a tracer would see."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


made = []


@kept_tensor
def squares(count: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    made.append(count)
    return torch.arange(count, dtype=dtype, device=device) ** 2


def add_squares(A: torch.Tensor) -> torch.Tensor:
    return A + squares(A, 5, A.dtype, A.device)


def test_a_kept_tensor_is_made_once_and_shared():
    A = torch.ones(5)
    first = squares(A, 4, A.dtype, A.device)
    assert squares(A, 4, A.dtype, A.device) is first
    assert first.tolist() == [0, 1, 4, 9]
    assert squares(A, 4, torch.float64, A.device).dtype == torch.float64
    assert not first.requires_grad
    with torch.inference_mode():
        late = squares(A, 7, A.dtype, A.device)
    assert not late.is_inference()


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_kept_tensor_is_a_constant_of_a_compiled_graph(dynamic):
    torch._dynamo.reset()
    recorder = EagerAndRecordGraphs()
    compiled = torch.compile(add_squares, fullgraph=True, backend=recorder, dynamic=dynamic)
    add_squares(torch.ones(5))
    before = len(made)
    assert torch.equal(compiled(torch.ones(3, 5)), add_squares(torch.ones(3, 5)))
    assert len(made) == before
    (graph,) = recorder.graphs
    assert sum(node.op.startswith("call") for node in graph.graph.nodes) == 1


@pytest.mark.filterwarnings("ignore:`torch.jit.trace` is deprecated")
def test_a_kept_tensor_under_transforms_and_tracers():
    def add(A: torch.Tensor) -> torch.Tensor:
        return A + squares(A, A.shape[-1], A.dtype, A.device)

    # Of other sizes, so that each makes a table, which is no part of what it is made under.
    for n, transform in ((21, torch.func.vmap), (22, torch.func.functionalize)):
        A = gaussian(4, n)
        assert torch.equal(transform(add)(A), A + torch.arange(n) ** 2)
        assert torch.equal(add(A), A + torch.arange(n) ** 2)
    A = gaussian(4, 23)
    assert torch.equal(torch.func.grad(lambda A: add(A).sum())(A), torch.ones_like(A))
    assert torch.equal(add(A), A + torch.arange(23) ** 2)
    assert add(torch.empty(2, 5, device="meta")).shape == (2, 5)
    B = torch.ones(11)
    traced = torch.jit.trace(add, B)
    assert "arange" not in str(traced.graph)
    assert torch.equal(traced(B), B + torch.arange(11) ** 2)
    with Seen() as mode:
        add(torch.ones(24))
    assert "arange" not in mode.names
    # A fake device has fake tensors.
    if not torch.cuda.is_available():
        with FakeTensorMode():
            B = torch.empty(6, device="cuda")
            assert squares(B, 6, B.dtype, B.device).device.type == "cuda"


@pytest.mark.parametrize("shape", [(1,), (2, 3), (3, 1, 2)])
def test_small_tensor_is_torchs(shape):
    expected, cpu = gaussian(*shape), torch.device("cpu")
    assert torch.equal(small_tensor(expected.numpy(), torch.float64, cpu), expected)
    # Under a mode, as those of tracers are, it is put together from its numbers.
    with Seen():
        assert torch.equal(small_tensor(expected.numpy(), torch.float64, cpu), expected)
