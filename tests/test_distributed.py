"""DTensors: computed by the processes that hold whole matrices, refused where they hold parts of them."""

import pytest
import torch
from torch.distributed import destroy_process_group, init_process_group
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

import prism_compile as pc

from .functions import CALLS, sample, tensors


@pytest.fixture(scope="module")
def mesh():
    """This process is the first of two, of which the other is not there: what talks to it gets nothing."""
    init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield init_device_mesh("cpu", (2,))
    destroy_process_group()


def placed(A: torch.Tensor, mesh, placement) -> DTensor:
    """A as this process has it; of three matrices two."""
    local = A[:2] if placement == Shard(0) else A
    return DTensor.from_local(
        local, mesh, [placement], run_check=False, shape=A.shape, stride=A.contiguous().stride()
    )


BATCHED = pytest.mark.parametrize("placement", [Shard(0), Replicate()], ids=str)


@BATCHED
@pytest.mark.parametrize("name", CALLS)
def test_whole_matrices(name, placement, mesh):
    A = sample(name.removeprefix("op "), 3)
    X = placed(A, mesh, placement)
    results = tensors(CALLS[name](X, steps=2))
    expected = tensors(CALLS[name](X.to_local(), steps=2))
    for result, reference in zip(results, expected, strict=True):
        assert result.placements == (placement,)
        assert result.shape == (3, *reference.shape[1:])
        assert torch.equal(result.to_local(), reference)


def test_results_keep_their_types(mesh):
    X = placed(sample("polar_factors", 3), mesh, Shard(0))
    result, history = pc.polar_factors(X, steps=2, history=True)
    assert (type(result), type(history)) == (pc.PolarFactors, pc.History)
    assert history.residual.shape == (3, 3)


@pytest.mark.parametrize(("placement", "gradient"), [(Shard(0), "dual"), (Replicate(), "unrolled")], ids=str)
def test_gradients_compiled(placement, gradient, mesh):
    torch._dynamo.reset()
    A = sample("polar", 3)
    X, leaf = placed(A, mesh, placement).requires_grad_(), A.clone().requires_grad_()

    def run(X):
        return pc.polar(2 * X, steps=2, gradient=gradient)[..., 0]

    torch.compile(run, fullgraph=True, backend="aot_eager")(X).sum().backward()
    run(leaf).sum().backward()
    assert X.grad.placements == (placement,)
    local = X.grad.to_local()
    torch.testing.assert_close(local, leaf.grad[: len(local)], rtol=0, atol=1e-10)


@pytest.mark.parametrize("placement", [Shard(1), Shard(2), Partial()], ids=str)
@pytest.mark.parametrize("name", ["polar", "op polar", "inv"])
def test_parts_of_matrices_are_refused(name, placement, mesh):
    X = placed(sample(name.removeprefix("op "), 3), mesh, placement)
    with pytest.raises(TypeError, match=r"use full_tensor\(\) or to_local\(\), got a DTensor with"):
        CALLS[name](X)
