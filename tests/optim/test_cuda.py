"""Steps on a CUDA device: they compile, wait for nothing, and go into a CUDA graph."""

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from prism_compile.optim import Muon, MuonWithAdamW, Orthogonaliser, Shampoo

from ..cuda.device import needs_cuda, needs_values, without_waits
from ..matrices import gaussian, svd_polar

pytestmark = needs_cuda

SHAPES = [(24, 16), (16, 24), (8, 3, 3, 3), (24, 16)]
SHORT = {"ns_steps": 2}
KINDS = {
    "Muon": lambda params, **own: Muon(params, **SHORT, **own),
    "Muon, its rate on the device": lambda params, **own: Muon(
        params, lr=torch.tensor(0.02, device="cuda"), **SHORT, **own
    ),
    "Muon adaptive": lambda params, **own: Muon(params, rule="adaptive", **SHORT, **own),
    "Muon, its options": lambda params, **own: Muon(
        params, beta2=0.9, cautious=True, momentum_dtype=torch.bfloat16, **SHORT, **own
    ),
    "Shampoo": lambda params, **own: Shampoo(params, steps=2, **own),
    "MuonWithAdamW": lambda params, **own: MuonWithAdamW(
        [{"params": params[:2], "use_muon": True}, {"params": params[2:], "use_muon": False}],
        muon=SHORT,
        **own,
    ),
}
EACH = pytest.mark.parametrize("name", KINDS)


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def optimizer_of(name, **own) -> torch.optim.Optimizer:
    params = [nn.Parameter(gaussian(*shape, seed=i).float().cuda()) for i, shape in enumerate(SHAPES)]
    for param in params:
        param.grad = torch.ones_like(param)
    return KINDS[name](params, **own)


@EACH
@pytest.mark.parametrize("compile", [True, False])
def test_a_step_compiles_and_waits_for_nothing(name, compile):
    optimizer = optimizer_of(name, compile=compile)
    optimizer.step()
    with without_waits():
        optimizer.step()


@pytest.mark.parametrize("name", ["Muon", "Shampoo"])
def test_a_solve_by_reduce_overhead_is_one_cuda_graph(name):
    optimizer = optimizer_of(name, compile={"mode": "reduce-overhead"})
    counters.clear()
    # Warming up, recording, replaying.
    for _ in range(3):
        optimizer.step()
    with without_waits():
        optimizer.step()
    found = counters["inductor"]
    assert found["cudagraph_skips"] == 0
    assert found["cudagraph_partitions"] <= 1
    # There is one: it has a place for the input.
    assert found["cudagraph_recorded_non_static_inputs"] > 0


@needs_values
@pytest.mark.parametrize("compile", [True, {"mode": "reduce-overhead"}, False])
def test_values_are_those_of_the_svd(compile):
    torch.set_float32_matmul_precision("high")
    try:
        orthogonalise = Orthogonaliser(steps=10, compile=compile)
        for seed in range(4):
            updates = [gaussian(*shape, seed=seed + i).float() for i, shape in enumerate(SHAPES)]
            for found, update in zip(orthogonalise([update.cuda() for update in updates]), updates):
                wanted = svd_polar(update.flatten(1)).reshape(update.shape)
                # float32 at a condition below 1e3.
                torch.testing.assert_close(found.double().cpu(), wanted, rtol=0, atol=1e-3)
    finally:
        torch.set_float32_matmul_precision("highest")
