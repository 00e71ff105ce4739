"""torch.export, saving, AOTInductor and ONNX of modules that call the functions or the ops."""

import pytest
import torch
from torch.export import Dim

import prism_compile as pc

from .functions import CALLS, Module, assert_close, sample, tensors
from .matrices import gaussian


def module(name: str, steps: int = 3, **options) -> Module:
    """One that calls a function on a multiple of its input."""
    return Module(lambda A: tensors(CALLS[name](2 * A, steps=steps, **options)))


def prism_nodes(program) -> list[str]:
    return [str(n.target) for n in program.graph.nodes if "prism" in str(n.target)]


@pytest.mark.parametrize(("strict", "rule"), [(False, "taylor"), (True, None)])
@pytest.mark.parametrize("name", CALLS)
def test_one_node_that_decomposes_wholly_or_is_kept(name, strict, rule):
    bare = name.removeprefix("op ")
    calls, A, other = module(name, rule=rule, steps=2), sample(bare, 3), sample(bare, 5)
    shapes = {"A": {0: Dim("batch")}}
    program = torch.export.export(calls, (A,), strict=strict, dynamic_shapes=shapes)
    assert prism_nodes(program) == [f"prism.{bare}.default"]
    assert_close(program.module()(other), calls(other))
    assert prism_nodes(program.run_decompositions(pc.keep_ops())) == [f"prism.{bare}.default"]
    # An op's node is as a function's; what a chosen step takes is alike in all.
    if name == bare and (rule or name in ("polar", "inv_root")):
        decomposed = program.run_decompositions()
        assert prism_nodes(decomposed) == []
        assert_close(decomposed.module()(other), calls(other))


def test_keep_ops_keeps_only_the_named():
    for name, kept in (("inv", ["prism.inv.default"]), ("signm", [])):
        program = torch.export.export(module(name), (sample(name),))
        assert prism_nodes(program.run_decompositions(pc.keep_ops("inv", "sqrtm"))) == kept
    with pytest.raises(ValueError, match=r"names must be among 'inv', 'inv_root', 'polar', .*, got 'qr'"):
        pc.keep_ops("qr")


def test_options_reach_the_node_and_history_is_inlined():
    program = torch.export.export(module("polar", rule="you", seed=3), (sample("polar"),))
    (node,) = [n for n in program.graph.nodes if "prism" in str(n.target)]
    assert node.kwargs == {"steps": 3, "rule": "you", "seed": 3}

    class Logged(torch.nn.Module):
        def forward(self, A):
            return pc.polar(A, steps=2, history=True)

    program = torch.export.export(Logged(), (sample("polar"),))
    assert prism_nodes(program) == []
    _, history = program.module()(sample("polar"))
    assert isinstance(history, pc.History)
    assert_close(history, Logged()(sample("polar"))[1])


def test_bad_options_are_refused_while_exporting():
    with pytest.raises(Exception, match="steps must be ≥ 1, got 0"):
        torch.export.export(module("sqrtm", steps=0), (sample("sqrtm"),))


@pytest.mark.parametrize(("shape", "rule"), [((20, 12), "taylor"), ((40, 12), "adaptive")])
def test_exported_program_of_symbolic_sizes_is_right_for_every_aspect_ratio(shape, rule):
    """Whichever side of m = 1.5 n, where the form changes, it was exported on."""
    sizes = {"A": {0: Dim("m", min=3, max=500), 1: Dim("n", min=2, max=400)}}
    calls = module("polar", rule=rule)
    program = torch.export.export(calls, (gaussian(*shape),), dynamic_shapes=sizes)
    decomposed = program.run_decompositions()
    for other in ((20, 12), (18, 12), (19, 12), (60, 3), (30, 30)):
        A = gaussian(*other, seed=1)
        for run in (program, decomposed):
            # The forms differ by rounding, which three steps raise by less than 1e3.
            assert_close(run.module()(A), calls(A))
    with pytest.raises(Exception, match="Guard failed"):
        program.module()(gaussian(12, 20))


@pytest.mark.parametrize(("name", "rule"), [("polar", None), ("sqrtm", "prism"), ("inv_root", "taylor")])
def test_draft_export_keeps_sizes_symbolic(name, rule):
    A = sample(name, 3)
    sizes = {"A": dict.fromkeys(range(3), Dim.AUTO)}
    calls = module(name, rule=rule, steps=1)
    program = torch.export.draft_export(calls, (A,), dynamic_shapes=sizes)
    (shape,) = [n.meta["val"].shape for n in program.graph.nodes if n.op == "placeholder"]
    assert all(isinstance(size, torch.SymInt) for size in shape)
    other = sample(name, 5, n=16)
    assert_close(program.module()(other), calls(other))


@pytest.mark.parametrize(("shape", "rule"), [((16, 12), "adaptive"), ((12, 16), "taylor")])
def test_aotinductor_of_symbolic_sizes(shape, rule, tmp_path):
    tall = shape[0] > shape[1]
    sizes = {"A": {0: Dim("m", min=3 if tall else 2), 1: Dim("n", min=2 if tall else 3)}}
    calls = module("polar", rule=rule, steps=2)
    program = torch.export.export(calls, (gaussian(*shape).float(),), dynamic_shapes=sizes)
    path = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "polar.pt2"))
    package = torch._inductor.aoti_load_package(path)
    for size in (shape, (9, 4) if tall else (4, 9)):
        A = gaussian(*size).float()
        assert_close(package(A), calls(A), atol=1e-5)
    # AOTInductor drops an export's guards; the op brings its own.
    traced = "m ≥ n" if tall else "m < n"
    with pytest.raises(RuntimeError, match=f"this graph is for matrices .* with {traced}"):
        package(gaussian(*shape[::-1]).float())


@pytest.mark.parametrize("name", ["polar_factors", "signm", "sqrtm_pair", "inv_root", "inv"])
def test_onnx(name, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    # The tables of a chosen step, which take most of the time, are in `test_models.py`.
    calls, A = module(name, steps=2, rule="minimax"), sample(name, 3).float()
    program = torch.export.export(calls, (A,), dynamic_shapes={"A": {0: Dim("batch")}})
    torch.onnx.export(program.run_decompositions(), (A,), dynamo=True, verbose=False).save(
        tmp_path / "m.onnx"
    )
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    other = sample(name, 5).float()
    result = session.run(None, {session.get_inputs()[0].name: other.numpy()})
    assert_close(tuple(map(torch.from_numpy, result)), calls(other), atol=1e-4)
