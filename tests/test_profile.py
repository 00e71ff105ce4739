"""Profiles: every function, phase and step is named, and the names cost nothing."""

import pytest
import torch
from torch._dynamo.testing import AotEagerAndRecordGraphs, EagerAndRecordGraphs
from torch.fx.experimental.proxy_tensor import make_fx
from torch.profiler import ProfilerActivity, profile

import prism_compile as pc

from .functions import FUNCTIONS, sample

EACH = pytest.mark.parametrize("name", FUNCTIONS)
PHASES = {"scaling", "residual", "fit", "update"}


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Module(torch.nn.Module):
    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def forward(self, A):
        return FUNCTIONS[self.name](A, steps=3)


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


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", ["polar_factors", "inv_root"])
def test_an_exported_program_shows_the_op_and_its_phases(name, strict):
    A = sample(name)
    program = torch.export.export(Module(name), (A,), strict=strict)
    found = ranges(lambda: program.module()(A))
    assert found[name] == 1
    assert found.keys() >= PHASES


@EACH
def test_nodes_of_a_compiled_graph_carry_function_step_and_phase(name):
    recorder = AotEagerAndRecordGraphs()
    torch.compile(FUNCTIONS[name], fullgraph=True, backend=recorder)(sample(name), steps=3)
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
    """They are entered and left while it is traced, which as calls in it would be a profiler's."""
    recorder = EagerAndRecordGraphs()
    torch.compile(pc.polar, fullgraph=True, backend=recorder)(sample("polar"), steps=2)
    calls = [node.target for node in recorder.graphs[0].graph.nodes if node.op.startswith("call")]
    said = {f"{getattr(target, '__module__', None)} {target}" for target in calls}
    assert not [text for text in said if "profiler" in text or "traceback" in text or "annotate" in text]


def test_a_profiler_that_runs_during_tracing_leaves_no_nodes():
    A = sample("polar")

    def graphs() -> list[str]:
        program = torch.export.export(Module("polar"), (A,))
        traced = make_fx(lambda A: torch.ops.prism.polar(A, steps=2))(A)
        return [str(node.target) for graph in (program, traced) for node in graph.graph.nodes]

    without = graphs()
    with profile(activities=[ProfilerActivity.CPU]):
        assert graphs() == without


def test_labels_do_not_disturb_transforms():
    A = sample("polar", 2)
    transforms = {
        "vmap": lambda: torch.func.vmap(pc.polar)(A),
        "grad": lambda: torch.func.grad(lambda A: pc.polar(A, steps=2).sum())(A),
        "jvp": lambda: torch.func.jvp(pc.polar, (A,), (A,))[1],
    }
    without = {name: run() for name, run in transforms.items()}
    with profile(activities=[ProfilerActivity.CPU]):
        for name, run in transforms.items():
            assert torch.equal(run(), without[name]), name
