"""torch.compile: one graph, no breaks, results within rounding of eager."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter, EagerAndRecordGraphs

import prism_compile as pc

from .functions import FUNCTIONS, sample, tensors
from .matrices import gaussian, log_spaced, relative_error, svd_polar, with_singular_values

EACH = pytest.mark.parametrize("name", FUNCTIONS)


def assert_equal(result, expected) -> None:
    """Of a graph that is run op by op, as the eager function is: but for the order of a few float64 sums."""
    for part, other in zip(flat(result), flat(expected), strict=True):
        torch.testing.assert_close(part, other, rtol=0, atol=1e-12)


def flat(result) -> list[torch.Tensor]:
    return torch.utils._pytree.tree_leaves(result)


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@EACH
def test_inductor_agrees_with_eager(name):
    A = sample(name, 2)
    compiled = torch.compile(FUNCTIONS[name], fullgraph=True)
    result, log = compiled(A, steps=2, history=True)
    expected, reference = FUNCTIONS[name](A, steps=2, history=True)
    # Reassociated reductions of float64 sums, carried through two steps at condition 20.
    for part, other in zip((*tensors(result), *log), (*tensors(expected), *reference)):
        torch.testing.assert_close(part, other, rtol=0, atol=1e-10)


def test_inductor_agrees_with_eager_in_half_precision():
    # Fused kernels keep float32 between operations that eager rounds: both are as near the SVD as the type
    # allows, whose entries are rounded once in a step, at condition 3.
    A = with_singular_values(log_spaced(48, 3.0), 64, 48).bfloat16()
    result, log = torch.compile(pc.polar, fullgraph=True)(A, steps=5, history=True)
    for U in (result, pc.polar(A, steps=5)):
        assert relative_error(U, svd_polar(A)) < 2 * torch.finfo(torch.bfloat16).eps * 3
    # A table's aim is one rounding below one.
    assert log.residual[-1] < torch.finfo(torch.bfloat16).eps


@EACH
@pytest.mark.parametrize(
    "options",
    [
        {"sketch_size": 3, "seed": 2**33, "history": True},
        {"degree": 1, "scaling": "frobenius"},
        {"rule": "taylor", "history": True},
    ],
    ids=str,
)
def test_every_option_gives_one_graph(name, options):
    counter = CompileCounter()
    A = sample(name)
    compiled = torch.compile(FUNCTIONS[name], fullgraph=True, backend=counter)
    for scale in (1.0, 3.0):
        assert_equal(compiled(A * scale, steps=2, **options), FUNCTIONS[name](A * scale, steps=2, **options))
    assert counter.frame_count == 1


@pytest.mark.parametrize("rule", ["polar_express", "jordan", "you"])
def test_table_rules_give_one_graph(rule):
    counter, A = CompileCounter(), gaussian(9, 5)
    compiled = torch.compile(pc.polar, fullgraph=True, backend=counter)
    assert_equal(compiled(A, rule=rule), pc.polar(A, rule=rule))
    assert counter.frame_count == 1


def test_dynamic_shapes_need_one_graph_per_orientation_and_form_and_one_more():
    counter = CompileCounter()
    compiled = torch.compile(pc.polar, fullgraph=True, dynamic=True, backend=counter)
    for shape in ((30, 20), (20, 30), (41, 17), (17, 41), (25, 25), (100, 3), (3, 100)):
        A = with_singular_values(log_spaced(min(shape), 5.0), *shape)
        torch.testing.assert_close(compiled(A, steps=4), pc.polar(A, steps=4))
    assert counter.frame_count <= 5


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not name.startswith("polar")])
def test_dynamic_square_shapes_need_one_graph(name):
    counter = CompileCounter()
    compiled = torch.compile(FUNCTIONS[name], fullgraph=True, dynamic=True, backend=counter)
    for n in (12, 7, 20, 33):
        A = sample(name, 2, n=n)
        assert_equal(compiled(A, steps=3), FUNCTIONS[name](A, steps=3))
    assert counter.frame_count <= 2


# Every rule, and every function that has tables.
FIXED = [
    *(("polar", rule) for rule in ("polar_express", "jordan", "you", "taylor")),
    *((name, "polar_express") for name in ("sqrtm", "inv_sqrtm", "signm")),
]


@pytest.mark.parametrize(("name", "rule"), FIXED)
def test_fixed_coefficients_under_dynamic_shapes(name, rule):
    """Dynamo makes symbols of floats there, of which no coefficient may be one."""
    compiled = torch.compile(FUNCTIONS[name], fullgraph=True, dynamic=True, backend="aot_eager")
    for n in (12, 7):
        A = sample(name, 2, n=n)
        expected = FUNCTIONS[name](A, rule=rule, steps=4)
        torch.testing.assert_close(compiled(A, rule=rule, steps=4), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("name", "rule"), [*FIXED, ("polar", "prism"), ("inv_root", "prism")])
def test_sizes_are_the_only_symbols_of_a_graph(name, rule):
    """A number of the library's would be an input on the CPU, a power of a size one in float64 an element."""
    recorder, A = EagerAndRecordGraphs(), sample(name).float()
    run = torch.compile(
        lambda A: FUNCTIONS[name](A, steps=2, rule=rule, history=True), dynamic=True, backend=recorder
    )
    run(A)
    (graph,) = recorder.graphs
    values = [node.meta["example_value"] for node in graph.graph.nodes if "example_value" in node.meta]
    assert any(isinstance(value, torch.SymInt) for value in values)
    assert not any(isinstance(value, torch.SymFloat) for value in values)
    inputs = [node.meta["example_value"] for node in graph.graph.nodes if node.op == "placeholder"]
    assert all(isinstance(value, torch.SymInt) or value.dtype == A.dtype for value in inputs)


def operations(steps: int, **options) -> list[str]:
    recorder = EagerAndRecordGraphs()
    torch._dynamo.reset()
    # Square, for the form of others depends on the number of steps.
    torch.compile(pc.polar, fullgraph=True, backend=recorder)(gaussian(5, 5), steps=steps, **options)
    (graph,) = recorder.graphs
    return [str(node.target) for node in graph.graph.nodes if node.op.startswith("call")]


# The default chooses in runs of fewer than eight steps, and in longer ones not.
@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, (5, 6, 7)),
        ({}, (8, 9, 14)),
        ({"rule": "prism"}, (3, 4, 9)),
        ({"rule": "taylor"}, (3, 4, 9)),
        ({"degree": 1}, (3, 4, 9)),
    ],
    ids=str,
)
def test_only_the_length_depends_on_the_step_count(options, steps):
    lists = [operations(count, **options) for count in steps]
    counts = [sum("getitem" not in operation for operation in operations) for operations in lists]
    assert counts[2] - counts[1] == (steps[2] - steps[1]) * (counts[1] - counts[0]) > 0


def test_no_device_synchronisation_in_the_graph():
    for name in FUNCTIONS:
        recorder = EagerAndRecordGraphs()
        torch._dynamo.reset()
        torch.compile(FUNCTIONS[name], fullgraph=True, backend=recorder)(sample(name), history=True, steps=2)
        (graph,) = recorder.graphs
        names = {str(node.target).rsplit(".", 1)[-1] for node in graph.graph.nodes}
        assert not names & {"item", "tolist", "nonzero", "rand", "randn", "cpu", "numpy"}
