"""The graphs of the steps, operation by operation: what is launched changes by intent only."""

import textwrap

import expecttest
import torch
from torch._dynamo.testing import EagerAndRecordGraphs

import prism_compile as pc

from .matrices import gaussian


def calls(**options) -> str:
    recorder = EagerAndRecordGraphs()
    torch._dynamo.reset()
    torch.compile(lambda A: pc.polar(A, **options), fullgraph=True, backend=recorder)(gaussian(6, 4).float())
    (graph,) = recorder.graphs
    names = [
        getattr(node.target, "__name__", str(node.target)) for node in graph.graph.nodes if "call" in node.op
    ]
    # One long line would be hard to review.
    return "\n".join(textwrap.wrap(" ".join(names), 100))


class TestGraphs(expecttest.TestCase):
    def test_cubic_steps(self):
        found = calls(steps=2, degree=1, rule="taylor", scaling="frobenius")
        self.assertExpectedInline(
            found,
            """\
getitem detach abs amax to log2 floor clamp exp2 eq ones_like where truediv mul to detach
linalg_vector_norm square mul eq ones_like where rsqrt mul to arange getitem eq to transpose baddbmm
detach mul baddbmm transpose baddbmm detach mul baddbmm to reshape""",
        )

    def test_steps_of_equal_ripple(self):
        self.assertExpectedInline(
            calls(steps=2, rule="minimax"),
            """\
getitem detach abs amax to log2 floor clamp exp2 eq ones_like where truediv mul to transpose bmm
arange getitem eq to bmm detach linalg_vector_norm pow mul eq ones_like where truediv mul sub mul
mul sub add to to eq ones_like where rsqrt mul to detach detach mul add to baddbmm transpose baddbmm
detach baddbmm baddbmm to reshape""",
        )

    def test_a_chosen_step(self):
        self.assertExpectedInline(
            calls(steps=1),
            """\
getitem detach abs amax to log2 floor clamp exp2 eq ones_like where truediv mul to transpose bmm
arange getitem eq to bmm detach linalg_vector_norm pow mul eq ones_like where truediv mul sub mul
mul sub add to to eq ones_like where rsqrt mul to detach detach to to to mul sum truediv mul sum
truediv mul sum truediv mul sum truediv ones_like stack getitem mul sum unbind getitem getitem mul
sub sub truediv clamp mul mul sub sub mul sub mul sub getitem getitem getitem argmin mul sub add
clamp sub mul truediv gather clamp add gt add sub where abs embedding getitem embedding getitem lerp
gather gather lerp mul add getitem split getitem getitem getitem sub mul mul add mul add to baddbmm
to reshape""",
        )
