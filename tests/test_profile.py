"""Profiles: every function, phase and step is named, and the names cost nothing."""

import json

import pytest
import torch
from torch._dynamo.testing import AotEagerAndRecordGraphs, EagerAndRecordGraphs
from torch.fx.experimental.proxy_tensor import make_fx
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import prism_compile as pc

from .functions import FUNCTIONS, sample, tensors

EACH = pytest.mark.parametrize("name", FUNCTIONS)
PHASES = {"scaling", "residual", "sketch", "fit", "update"}


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


@EACH
@pytest.mark.parametrize("strict", [False, True])
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


@pytest.mark.parametrize("name", ["polar", "inv_root"])
def test_labels_add_nothing_to_a_graph(name):
    """They are entered and left while it is traced, which as calls in it would be a profiler's."""
    recorder = EagerAndRecordGraphs()
    torch.compile(FUNCTIONS[name], fullgraph=True, backend=recorder)(sample(name), steps=2)
    calls = [node.target for node in recorder.graphs[0].graph.nodes if node.op.startswith("call")]
    assert "torch" in {getattr(target, "__module__", None) for target in calls}
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


@EACH
def test_counted_work_agrees_with_the_flop_counter(name):
    from studies.profile.count import work_of

    A = sample(name)
    with FlopCounterMode(display=False) as counter:
        FUNCTIONS[name](A, steps=3)
    work = work_of(lambda: FUNCTIONS[name](A, steps=3), A.shape[-1])
    assert work.product_flops + work.skinny_flops == counter.get_total_flops()


def test_work_of_a_step_is_the_documented_cost():
    from studies.profile.count import work_per_step

    m, n = 48, 32
    A = torch.randn(m, n, generator=torch.Generator().manual_seed(0))
    step = work_per_step(lambda steps: pc.polar(A, steps=steps), 4, n)
    assert step.products == 3
    assert step.product_flops == 4 * m * n**2 + 2 * n**3


def test_the_command_prints_phases_and_writes_traces(tmp_path, monkeypatch, capsys):
    from studies.common import results
    from studies.profile import __main__ as profile_main

    monkeypatch.setattr(results, "OUT", tmp_path)
    path = tmp_path / "out" / "trace.json"
    profile_main.main(f"polar --shape 24 16 --steps 3 --repeats 1 --trace {path}".split())
    output = capsys.readouterr().out
    for word in ("scaling", "residual", "sketch and moments", "fit", "update", "kernels", "products"):
        assert word in output
    for kind in ("eager", "compiled"):
        events = json.loads(path.with_name(f"trace-{kind}.json").read_text())["traceEvents"]
        names = {event["name"] for event in events if str(event.get("name")).startswith("prism::")}
        assert any("residual" in name for name in names)
        assert any("step 2" in name for name in names)


def test_compiled_kernels_are_labelled_with_phase_and_step():
    from studies.profile.trace import compile_labelled, compiled_pieces, record

    A = sample("sqrtm_pair")
    compiled = compile_labelled(pc.sqrtm_pair, A, steps=3)
    for part, expected in zip(tensors(compiled.run()), tensors(pc.sqrtm_pair(A, steps=3))):
        torch.testing.assert_close(part, expected)
    assert {kernel.label.step for kernel in compiled.kernels} >= {0, 1, 2}
    assert {phase for kernel in compiled.kernels for phase in kernel.label.phases} >= PHASES
    assert compiled.bytes_by_step[1] > 0
    pieces = compiled_pieces(record(compiled.run, 1), compiled.kernels)
    assert sum(piece.label.phases == ("residual",) and piece.product for piece in pieces) == 2 * 2
