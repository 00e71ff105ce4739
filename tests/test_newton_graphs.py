"""Derivatives, graphs, exports and ops of functions with Newton's steps."""

import pytest
import torch
from torch._dynamo.testing import AotEagerAndRecordGraphs
from torch.autograd import gradcheck
from torch.func import grad

import prism_compile as pc

from .matrices import F64, eigh_power, gaussian, relative_error, spd
from .test_newton import EACH, FUNCTIONS, parts, sample


@EACH
@pytest.mark.parametrize("gradient", ["unrolled", "dual"])
@pytest.mark.parametrize(("steps", "newton_steps"), [(7, 7), (9, 1)])
def test_gradcheck(name, gradient, steps, newton_steps):
    # Steps enough for the result not to depend on the coefficients, which are constants to the derivative.
    A = sample(name, 3, 4.0).requires_grad_()

    def run(A):
        return parts(FUNCTIONS[name](A, steps=steps, newton_steps=newton_steps, gradient=gradient))

    # torch has no forward mode within forward mode, which "dual" is.
    assert gradcheck(run, A, rtol=1e-4, check_forward_ad=gradient == "unrolled")


@pytest.mark.parametrize("gradient", ["unrolled", "dual"])
def test_gradcheck_of_a_complex_matrix(gradient):
    A = gaussian(4, 4, dtype=torch.complex128).requires_grad_()
    assert gradcheck(lambda A: pc.polar(A, steps=7, newton_steps=7, gradient=gradient), A)


@EACH
def test_gradient_modes_agree_before_convergence(name):
    A = sample(name, 5, 100.0)

    def loss(A, gradient):
        results = parts(FUNCTIONS[name](A, steps=3, newton_steps=2, gradient=gradient))
        return sum((X * torch.cos(torch.arange(25, dtype=F64)).reshape(5, 5)).sum() for X in results)

    expected = grad(loss)(A, "unrolled")
    assert expected.abs().max() > 1e-2
    torch.testing.assert_close(grad(loss)(A, "dual"), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("gradient", ["unrolled", "dual"])
def test_gradient_is_eighs(gradient):
    A, G = spd(10, 1e4), gaussian(10, 10)
    G = G + G.T
    expected = grad(lambda A: (eigh_power(A, -0.5) * G).sum())(A)
    result = grad(lambda A: (pc.inv_sqrtm(A, newton_steps=3, gradient=gradient) * G).sum())(A)
    assert relative_error(result + result.T, expected + expected.T) < 1e-8


@pytest.mark.parametrize(
    ("name", "gradient"), [("polar", "unrolled"), ("signm", "dual"), ("sqrtm_pair", "dual")]
)
def test_compiled_graph_and_its_gradient(name, gradient):
    """One graph, without a call that reads from the device."""
    torch._dynamo.reset()
    recorder, A = AotEagerAndRecordGraphs(), sample(name, 5)
    options = {"steps": 2, "newton_steps": 1, "gradient": gradient}

    def loss(A):
        return sum(part.square().sum() for part in parts(FUNCTIONS[name](A, **options)))

    def gradient_of(run):
        leaf = A.clone().requires_grad_()
        (result,) = torch.autograd.grad(run(leaf), leaf)
        return result

    compiled = gradient_of(torch.compile(loss, fullgraph=True, backend=recorder))
    torch.testing.assert_close(compiled, gradient_of(loss), rtol=1e-9, atol=1e-9)
    called = {str(node.target) for graph in recorder.fw_graphs for node in graph.graph.nodes}
    assert "aten.linalg_inv_ex.default" in called
    assert not [target for target in called if "check_errors" in target or "_local_scalar" in target]


def test_inductor():
    torch._dynamo.reset()
    A = torch.stack([spd(12, 1e3), spd(12, 10.0, seed=3)])
    options = {"steps": 3, "newton_steps": 2, "history": True, "rule": "taylor"}
    result, history = torch.compile(lambda A: pc.sqrtm_pair(A, **options), fullgraph=True)(A)
    expected, other = pc.sqrtm_pair(A, **options)
    for part, reference in zip((*result, *history), (*expected, *other)):
        torch.testing.assert_close(part, reference, rtol=1e-8, atol=1e-8)


class Calls(torch.nn.Module):
    def __init__(self, name: str, rule: str = "prism"):
        super().__init__()
        self.name, self.rule = name, rule

    def forward(self, A):
        return FUNCTIONS[self.name](2 * A, steps=3, newton_steps=2, rule=self.rule)


@pytest.mark.parametrize("name", ["polar_factors", "signm", "sqrtm_pair"])
def test_export(name):
    A = torch.stack([sample(name), sample(name, condition=5.0)])
    program = torch.export.export(Calls(name), (A,), dynamic_shapes={"A": {0: torch.export.Dim("batch")}})
    (node,) = [node for node in program.graph.nodes if "prism" in str(node.target)]
    assert node.kwargs["newton_steps"] == 2
    other = A.repeat(2, 1, 1)
    for run in (program.module(), program.run_decompositions().module()):
        for part, expected in zip(parts(run(other)), parts(Calls(name)(other))):
            torch.testing.assert_close(part, expected, rtol=1e-9, atol=1e-9)


def test_export_of_symbolic_sizes():
    n = torch.export.Dim("n", min=2, max=50)
    program = torch.export.export(Calls("polar"), (sample("polar"),), dynamic_shapes={"A": {0: n, 1: n}})
    A = sample("polar", 5)
    torch.testing.assert_close(program.module()(A), Calls("polar")(A))


def test_aotinductor(tmp_path):
    A, module = sample("polar").float(), Calls("polar", "taylor")
    program = torch.export.export(module, (A,))
    path = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "polar.pt2"))
    result = torch._inductor.aoti_load_package(path)(A)
    torch.testing.assert_close(result, module(A), rtol=0, atol=1e-5)


@EACH
def test_op(name):
    A = sample(name)
    options = {"steps": 4, "newton_steps": 2, "gradient": "dual"}
    op = getattr(torch.ops.prism, name)
    assert all(map(torch.equal, parts(op(A, **options)), parts(FUNCTIONS[name](A, **options))))
