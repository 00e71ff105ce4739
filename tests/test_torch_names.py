"""The private names of torch that `_torch.py` rests on: each is there, and means what its table says."""

import sys
from types import FunctionType

import pytest
import torch
from functorch.compile import aot_module_simplified
from torch._C._dynamo.eval_frame import set_eval_frame
from torch._dynamo.symbolic_convert import InstructionTranslator
from torch._dynamo.testing import EagerAndRecordGraphs
from torch._dynamo.types import ConvertFrameReturn
from torch._dynamo.utils import get_current_node
from torch._functorch import pyfunctorch
from torch._guards import detect_fake_mode
from torch._inductor.fx_passes.post_grad import post_grad_passes
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from prism_compile._torch import _left_alone, known_after, parts_of, renamed, unbound

TWO = torch.ones(2)


def compiled_graph(function) -> torch.fx.GraphModule:
    recorder = EagerAndRecordGraphs()
    torch.compile(function, fullgraph=True, backend=recorder)(TWO)
    (graph,) = recorder.graphs
    return graph


def test_dynamo_marks_constants_and_static_sizes_by_attributes():
    assert torch.compiler.assume_constant_result(lambda: 1)._dynamo_marked_constant is True
    table = torch.ones(2, 3)
    torch._dynamo.mark_static(table)
    assert table._dynamo_static_indices == {0, 1}
    assert table._has_dynamo_dim_marking is True


def test_dynamo_leaves_alone_the_making_of_a_table():
    seen = []

    def note(frame, *_):
        seen.append(frame.f_code.co_name)
        return ConvertFrameReturn()

    def table():
        return 1

    def making():
        return table()

    def also_made():
        return table()

    previous = set_eval_frame(note)
    try:
        making()
        _left_alone(also_made)()
    finally:
        set_eval_frame(previous)
    assert seen.count("making") == seen.count("table") == 1
    assert "also_made" not in seen


def test_dynamo_calls_tensors_by_the_name_of_the_code_that_returns_them():
    made = torch.ones(2)

    def table():
        return made

    own = FunctionType(table.__code__.replace(co_name="chosen_name"), {}, "table", None, table.__closure__)
    own._dynamo_marked_constant = True
    assert any("chosen_name" in name for name, _ in compiled_graph(lambda A: A + own()).named_buffers())


def test_fake_modes_are_found_and_say_what_they_allow():
    found = []

    class Module(torch.nn.Module):
        def forward(self, A):
            mode = detect_fake_mode(A)
            found.append(mode is not None and mode.propagate_real_tensors)
            return A + 1

    assert detect_fake_mode(TWO) is None
    with FakeTensorMode() as mode:
        assert detect_fake_mode(torch.ones(2)) is mode
    assert (mode.allow_non_fake_inputs, mode.propagate_real_tensors) == (False, False)
    torch.export.draft_export(Module(), (TWO,))
    assert True in found
    assert sys.modules["torch._inductor.virtualized"].V.aot_compilation in (False, None)


class Count(TorchDispatchMode):
    """Counts what it sees."""

    seen = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.seen += 1
        return function(*arguments, **(options or {}))


def test_modes_are_counted_and_disabled():
    with Count() as mode:
        assert torch._C._len_torch_dispatch_stack() == 1
        with _disable_current_modes():
            assert torch._C._len_torch_dispatch_stack() == 0
            torch.ones(2)
        assert mode.seen == 0
        torch.ones(2)
        assert mode.seen == 1
    assert torch._C._len_torch_dispatch_stack() == 0


@pytest.mark.filterwarnings("ignore:`torch.jit.trace` is deprecated")
def test_the_tracing_state_can_be_put_aside():
    def function(A):
        state = torch._C._get_tracing_state()
        torch._C._set_tracing_state(None)
        hidden = torch.ones(2).cos()
        torch._C._set_tracing_state(state)
        return A + hidden

    graph = str(torch.jit.trace(function, TWO).graph)
    assert "cos" not in graph
    assert "aten::add" in graph


def test_transforms_are_seen_and_cleared():
    seen = []

    def function(A):
        seen.append(torch._C._are_functorch_transforms_active())
        with pyfunctorch.temporarily_clear_interpreter_stack():
            seen.append(torch._C._are_functorch_transforms_active())
        return A + 1

    torch.func.vmap(function)(TWO)
    assert seen == [True, False]
    torch.func.functionalize(lambda A: seen.append(torch._is_functional_tensor(A)) or A + 1)(TWO)
    assert seen[2:] == [True]
    assert not torch._C._are_functorch_transforms_active()
    assert torch._is_functional_tensor(TWO) is False


def test_dynamo_says_which_node_it_runs_and_nodes_can_be_renamed():
    seen = []

    @torch.compiler.allow_in_graph
    def function(A):
        node = get_current_node()
        if node is not None:
            seen.append(node)
            node._rename("chosen_name")
        return A + 1

    graph = compiled_graph(lambda A: function(A))
    assert "chosen_name = " in graph.code
    assert seen[0] in graph.graph.nodes
    assert get_current_node() is None


def test_dynamo_says_whose_body_it_traces():
    seen = []

    @torch.compiler.assume_constant_result
    def look():
        tracer = InstructionTranslator.current_tx().output.current_tracer
        seen.append((tracer.source_target, tracer.parent.source_target, tracer.parent.parent))
        return 1.0

    region = torch.compiler.nested_compile_region(lambda A: A + look())
    compiled_graph(lambda A: region(A))
    assert set(seen) == {(torch._higher_order_ops.invoke_subgraph, None, None)}


def test_names_that_are_only_called():
    forward_ad._maybe_load_decompositions()
    assert callable(_pytree._register_namedtuple)
    label = torch._C._profiler._RecordFunctionFast("prism::here")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile, label:
        torch.ones(2)
    assert "prism::here" in {event.name for event in profile.events()}
    torch._assert_async(torch.tensor(True), "never")
    with pytest.raises(RuntimeError, match="said so"):
        torch._assert_async(torch.tensor(False), "said so")


def test_parts_are_views():
    A = torch.arange(6.0).reshape(3, 2)
    assert [part.data_ptr() for part in parts_of(A, (1, 2), 0)] == [A.data_ptr(), A[1].data_ptr()]
    assert all(torch.equal(part, row) for part, row in zip(unbound(A), A))


def test_compilers_do_not_see_through_the_tricks():
    """In the graph that Inductor generates code from, both are operations still."""
    graphs = []

    def inner(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def backend(graph, inputs):
        return aot_module_simplified(graph, inputs, fw_compiler=inner)

    run = torch.compile(lambda A: known_after(A, A) + renamed([A])[0], fullgraph=True, backend=backend)
    assert torch.equal(run(TWO), 2 * TWO)
    (graph,) = graphs
    post_grad_passes(graph, True)
    called = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    assert called.count("aten.mul.Tensor") == 2
    assert "aten.where.self" in called
