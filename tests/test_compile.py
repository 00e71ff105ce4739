"""torch.compile: one graph, no breaks, results within rounding of eager."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter, EagerAndRecordGraphs

import prism_compile as pc

from .functions import FUNCTIONS, sample
from .matrices import log_spaced, relative_error, svd_polar, with_singular_values

pytestmark = pytest.mark.usefixtures("fresh_dynamo")
EACH = pytest.mark.parametrize("name", FUNCTIONS)


# One of each kind; polar alone is below, and in `test_reference.py`.
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in ("polar_factors", "signm", "sqrtm_pair", "inv_root", "inv")),
        ("sqrtm", {"history": True}),
    ],
)
def test_inductor_agrees_with_eager(name, options):
    A = sample(name, 2)
    result = torch.compile(FUNCTIONS[name], fullgraph=True)(A, steps=2, **options)
    # Reassociated reductions of float64 sums, carried through two steps at condition 20.
    torch.testing.assert_close(result, FUNCTIONS[name](A, steps=2, **options), rtol=0, atol=1e-10)


def test_inductor_agrees_with_eager_in_half_precision():
    # Fused kernels keep float32 between operations that eager rounds: both are as near the SVD as the type
    # allows, whose entries are rounded once in a step, at condition 3.
    A = with_singular_values(log_spaced(48, 3.0), 64, 48).bfloat16()
    for run in (torch.compile(pc.polar, fullgraph=True), pc.polar):
        assert relative_error(run(A, steps=5), svd_polar(A)) < 2 * torch.finfo(torch.bfloat16).eps * 3


@EACH
@pytest.mark.parametrize(
    "options",
    [
        {"rule": "prism", "sketch_size": 3, "seed": 2**33, "history": True},
        {"degree": 1, "scaling": "frobenius"},
    ],
    ids=str,
)
def test_every_option_gives_one_graph_that_does_not_wait(name, options):
    recorder, A = EagerAndRecordGraphs(), sample(name)
    compiled = torch.compile(FUNCTIONS[name], fullgraph=True, backend=recorder)
    for scale in (1.0, 3.0):
        result, expected = (f(A * scale, steps=2, **options) for f in (compiled, FUNCTIONS[name]))
        # Of a graph that is run op by op, as the eager function is: but for the order of a few float64 sums.
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    (graph,) = recorder.graphs
    names = {str(node.target).rsplit(".", 1)[-1] for node in graph.graph.nodes}
    assert not names & {"item", "tolist", "nonzero", "rand", "randn", "cpu", "numpy"}


def test_dynamic_shapes_need_one_graph_per_orientation_and_form_and_one_more():
    counter = CompileCounter()
    compiled = torch.compile(pc.polar, fullgraph=True, dynamic=True, backend=counter)
    for shape in ((30, 20), (20, 30), (41, 17), (17, 41), (25, 25), (100, 3), (3, 100)):
        A = with_singular_values(log_spaced(min(shape), 5.0), *shape)
        torch.testing.assert_close(compiled(A, steps=4), pc.polar(A, steps=4))
    assert counter.frame_count <= 5


DYNAMIC = [(name, None) for name in FUNCTIONS]
DYNAMIC += [("polar", "polar_express"), ("polar", "prism"), ("sqrtm", "polar_express"), ("signm", "taylor")]


@pytest.mark.parametrize(("name", "rule"), DYNAMIC)
def test_sizes_are_the_only_symbols_of_a_graph(name, rule):
    """Dynamo makes symbols of floats: inputs on the CPU, and a power of a size one in float64 an element."""
    recorder = EagerAndRecordGraphs()
    options = {"steps": 3, "rule": rule}
    compiled = torch.compile(lambda A: FUNCTIONS[name](A, **options), dynamic=True, backend=recorder)
    for n in (12, 16):
        A = sample(name, 2, n=n)
        torch.testing.assert_close(compiled(A), FUNCTIONS[name](A, **options))
    (graph,) = recorder.graphs
    values = [node.meta["example_value"] for node in graph.graph.nodes if "example_value" in node.meta]
    assert any(isinstance(value, torch.SymInt) for value in values)
    assert not any(isinstance(value, torch.SymFloat) for value in values)
    inputs = [node.meta["example_value"] for node in graph.graph.nodes if node.op == "placeholder"]
    assert all(isinstance(value, torch.SymInt) or value.dtype == A.dtype for value in inputs)
