"""What users call warns of nothing that torch or Python has deprecated, be it by torch that we call."""

import subprocess
import sys
from pathlib import Path

import pytest

START = r"""
import warnings
import torch
import prism_compile as pc

warnings.simplefilter("error", FutureWarning)
warnings.simplefilter("error", DeprecationWarning)
# Of torch 2.13 itself: in the first compilation, in that of an autograd.Function, and in run_decompositions.
for message in (
    r"`torch\.jit\.script_method` is deprecated",
    r"<class 'torch\.autograd\.function\.Function'> should not be instantiated",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
):
    warnings.filterwarnings("ignore", message=message)
A = torch.eye(4) + 0.1
options = {"steps": 1, "rule": "taylor", "eps": 1e-3}


def solve(A):
    return pc.inv_sqrtm(A, gradient="dual", **options)


def step_twice(optimizer, parameters):
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = parameter.detach().clone()
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
"""
# Each in a process of its own, for what torch loads it warns of once.
CALLS = {
    "the functions and their dual backward passes": """
solve(A.clone().requires_grad_()).sum().backward()
torch.ops.prism.inv_sqrtm(A.clone().requires_grad_(), gradient="dual", **options).sum().backward()
for name in ("polar", "polar_factors", "signm", "sqrtm", "inv_sqrtm", "sqrtm_pair", "inv"):
    getattr(pc, name)(A)
    getattr(torch.ops.prism, name)(A)
pc.inv_root(A, 3, history=True)
""",
    "a compiled dual backward pass": """
torch.compile(solve, fullgraph=True, backend="aot_eager")(A.requires_grad_()).sum().backward()
""",
    "export": """
class Module(torch.nn.Module):
    def forward(self, A):
        return solve(A)

program = torch.export.export(Module(), (A,))
program.run_decompositions(pc.keep_ops())
program.run_decompositions()
""",
    "the optimizers": """
parameters = [torch.nn.Parameter(A)]
step_twice(pc.optim.Muon(parameters, compile=False), parameters)
step_twice(pc.optim.Shampoo(parameters, compile=False), parameters)
step_twice(pc.optim.Shampoo(parameters, compile={"backend": "aot_eager"}, solver="eigh"), parameters)
""",
}


@pytest.mark.parametrize("calls", CALLS)
def test_nothing_deprecated_in(calls):
    subprocess.check_call([sys.executable, "-c", START + CALLS[calls]], cwd=Path(__file__).parent.parent)
