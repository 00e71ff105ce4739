"""Complex matrices: as real ones are, and in graphs. Accuracy: `properties`; derivatives: `test_grad`."""

import warnings

import pytest
import torch

import prism_compile as pc

from .functions import FUNCTIONS, Module, assert_close, sample, tensors
from .matrices import C128, log_spaced, with_singular_values

C64 = torch.complex64
EACH = pytest.mark.parametrize("name", FUNCTIONS)


@EACH
@pytest.mark.parametrize("rule", ["adaptive", "prism"])
def test_a_real_matrix_as_a_complex_one(name, rule):
    """The same sketch, and so the same coefficients but for rounding."""
    A = sample(name)
    expected, real = FUNCTIONS[name](A, rule=rule, steps=6, history=True)
    result, history = FUNCTIONS[name](A.to(C128), rule=rule, steps=6, history=True)
    assert_close(result, tuple(part.to(C128) for part in tensors(expected)), 1e-9)
    torch.testing.assert_close(history, real, rtol=1e-6, atol=1e-9)
    _, history = FUNCTIONS[name](A.to(C64), rule=rule, steps=6, history=True)
    assert {part.dtype for part in history} == {torch.float32}


def test_long_runs_are_planned_as_in_the_type_of_the_parts():
    """float64 resolves more steps than float32, and so does complex128."""
    A = with_singular_values(log_spaced(10, 1e9), 10, 10)
    histories = [pc.polar(X, steps=16, history=True)[1] for X in (A, A.to(C128))]
    torch.testing.assert_close(*(h.coefficient for h in histories), rtol=1e-6, atol=0)


def test_export():
    module = Module(lambda A: tuple(pc.polar_factors(2 * A, steps=2, rule="prism")))
    A = sample("polar_factors", 2, dtype=C128)
    batch = {"A": {0: torch.export.Dim("batch")}}
    program = torch.export.export(module, (A,), dynamic_shapes=batch)
    assert "torch.ops.prism.polar_factors.default" in program.graph_module.code
    other = torch.cat([A, A[:1]])
    for run in (program, program.run_decompositions()):
        assert_close(run.module()(other), module(other), 1e-11)


def test_compiled():
    """Inductor leaves the complex operators to torch, and says so."""
    torch._dynamo.reset()

    def run(A):
        U = pc.polar(A, steps=1, rule="polar_express")
        return U, pc.sqrtm(A.mH @ A, steps=1, rule="taylor", gradient="dual")

    A = sample("polar", 2, dtype=C64)
    leaves = [A.clone().requires_grad_() for _ in range(2)]
    with warnings.catch_warnings():
        message = "Torchinductor does not support code generation for complex"
        warnings.filterwarnings("ignore", message=message)
        results = [call(leaf) for call, leaf in zip((run, torch.compile(run, fullgraph=True)), leaves)]
        for U, S in results:
            (U * A).real.sum().add(S.imag.square().sum()).backward()
    for part, reference in zip(results[1], results[0]):
        assert not part.is_conj()
        torch.testing.assert_close(part, reference, rtol=0, atol=1e-5)
    torch.testing.assert_close(leaves[1].grad, leaves[0].grad, rtol=1e-4, atol=1e-4)
