"""Numbers that are finished while a graph is traced."""

import torch
from torch._dynamo.testing import EagerAndRecordGraphs

from prism_compile._iteration.constants import traced_constant


@traced_constant
def thirds(count: int) -> tuple[float, ...]:
    # What Dynamo cannot trace: it would break the graph.
    return tuple(float(f"{k / 3:.3f}") for k in range(count))


def test_a_traced_constant_is_computed_once_and_not_traced():
    assert thirds(4) is thirds(4)
    recorder = EagerAndRecordGraphs()
    compiled = torch.compile(lambda A: A * thirds(3)[2], fullgraph=True, backend=recorder)
    assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 0.667))
    (graph,) = recorder.graphs
    assert sum(node.op.startswith("call") for node in graph.graph.nodes) == 1
