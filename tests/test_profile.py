"""Profiles: every function, phase and step is named, and the names cost nothing."""

import pytest
import torch
from torch._dynamo.testing import AotEagerAndRecordGraphs
from torch.fx.experimental.proxy_tensor import make_fx
from torch.profiler import ProfilerActivity, profile

import prism_compile as pc

from .functions import FUNCTIONS, OPS, Module, sample

pytestmark = pytest.mark.usefixtures("fresh_dynamo")
EACH = pytest.mark.parametrize("name", FUNCTIONS)
PHASES = {"scaling", "residual", "fit", "update"}


def ranges(run) -> dict[str, int]:
    """How often each `prism::` range occurs in a profile."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run()
    return {e.key.removeprefix("prism::"): e.count for e in profiler.key_averages() if "prism::" in e.key}


def labels(graph: torch.fx.Graph) -> list[dict]:
    return [node.meta.get("custom", {}) for node in graph.nodes if node.op == "call_function"]


@EACH
def test_an_eager_profile_names_the_function_its_steps_and_phases(name):
    A = sample(name)
    found = ranges(lambda: FUNCTIONS[name](A, steps=3))
    assert found[name] == found["scaling"] == found["step 0"] == found["step 2"] == 1
    assert found.keys() >= PHASES
    assert found["fit"] == found["update"] == 3
    assert "step 3" not in found


def test_an_exported_program_shows_the_op_and_its_phases():
    A = sample("polar")
    program = torch.export.export(Module(lambda A: pc.polar(A, steps=3)), (A,))
    found = ranges(lambda: program.module()(A))
    assert found["polar"] == 1
    assert found.keys() >= PHASES


@pytest.mark.parametrize("calls", [FUNCTIONS, OPS], ids=["function", "op"])
@EACH
def test_nodes_of_a_compiled_graph_carry_function_step_and_phase(name, calls):
    recorder = AotEagerAndRecordGraphs()
    torch.compile(calls[name], fullgraph=True, backend=recorder)(sample(name), steps=3)
    found = labels(recorder.fw_graphs[0].graph)
    assert {label["prism"] for label in found} == {name}
    assert {label.get("prism_step") for label in found} == {None, 0, 1, 2}
    assert {label["prism_phase"] for label in found if "prism_phase" in label} >= PHASES


@pytest.mark.parametrize("gradient", ["unrolled", "dual"])
def test_a_backward_graph_is_labelled_too(gradient):
    recorder = AotEagerAndRecordGraphs()
    A = sample("polar").requires_grad_()
    compiled = torch.compile(pc.polar, fullgraph=True, backend=recorder)
    compiled(A, steps=3, gradient=gradient).sum().backward()
    found = labels(recorder.bw_graphs[0].graph)
    assert {label.get("prism_phase") for label in found} >= {"residual", "update"}


def test_labels_add_nothing_to_a_graph():
    """They are entered and left while it is traced; what Dynamo traces is in `test_graphs.py`."""
    A = sample("polar")

    def graphs() -> list[str]:
        program = torch.export.export(Module(lambda A: pc.polar(A, steps=3)), (A,))
        traced = make_fx(lambda A: torch.ops.prism.polar(A, steps=2))(A)
        return [str(node.target) for graph in (program, traced) for node in graph.graph.nodes]

    without = graphs()
    with profile(activities=[ProfilerActivity.CPU]):
        assert graphs() == without
