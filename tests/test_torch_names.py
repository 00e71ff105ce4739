"""The private names of torch that `_torch.py` rests on, where what breaks without them is silent or slow.

Of the others other tests fail: of constants, transforms, modes and traces those of `test_torch.py`; of nested
regions of `test_transforms.py`; of a node's name, and of named tuples, of `test_registry.py` and
`test_history.py`; of ranges and assertions of `test_profile.py` and `test_export.py`.
"""

import sys
from types import FunctionType

import torch
from functorch.compile import aot_module_simplified
from torch._C._dynamo.eval_frame import set_eval_frame
from torch._dynamo.testing import EagerAndRecordGraphs
from torch._dynamo.types import ConvertFrameReturn
from torch._guards import detect_fake_mode
from torch._inductor.fx_passes.post_grad import post_grad_passes
from torch._subclasses.fake_tensor import FakeTensorMode

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
