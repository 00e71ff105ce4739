"""torch's transforms and contexts that a call may be under, and inputs of sizes known at run time only."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch._dynamo import compiled_autograd
from torch._dynamo.decorators import mark_unbacked
from torch._dynamo.testing import CompileCounterWithBackend
from torch.func import hessian, jacfwd, jacrev

import prism_compile as pc

from .functions import FUNCTIONS, OPS, assert_close, sample, tensors

pytestmark = pytest.mark.usefixtures("fresh_dynamo")
# A function of each form, and an op of each kind of form.
UNBACKED = [
    *((name, FUNCTIONS[name], False) for name in ("polar", "signm", "sqrtm_pair", "inv_root", "inv")),
    ("polar", OPS["polar"], True),
    ("inv_root", OPS["inv_root"], False),
]


@pytest.mark.parametrize(("name", "call", "wide"), UNBACKED)
def test_sizes_known_at_run_time_only(name, call, wide):
    """The caller states the orientation, on which the graph depends; nothing else is asked of the sizes."""

    def run(A):
        m, n = A.shape[-2:]
        torch._check(m < n if wide else m >= n if name.startswith("polar") else m == n)
        return call(A, steps=2)

    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(run, fullgraph=True, backend=counter)
    for A in (sample(name, 2), sample(name, 3, n=9)):
        A = A.mT.contiguous() if wide else A
        for dim in range(3):
            mark_unbacked(A, dim)
        assert_close(compiled(A), call(A.clone(), steps=2))
    assert counter.frame_count == 1


@pytest.mark.parametrize("name", ["polar", "inv_root"])
def test_nested_region(name):
    """Short runs of the default rule have tables, of which a region asks where they come from."""

    @torch.compiler.nested_compile_region
    def region(A):
        return FUNCTIONS[name](A, steps=2)

    A = sample(name, 2)
    compiled = torch.compile(lambda A: (region(2 * A), region(3 * A)), fullgraph=True, backend="aot_eager")
    for result, factor in zip(compiled(A), (2, 3)):
        assert_close(result, FUNCTIONS[name](factor * A, steps=2))


@pytest.mark.parametrize("name", ["polar", "inv_root"])
def test_inference_mode_inside_a_compiled_function(name):
    def run(A):
        with torch.inference_mode():
            return FUNCTIONS[name](2 * A, steps=3)

    # A number of steps that no other test has, for its tables to be made there.
    leaf = sample(name, 2).requires_grad_()
    result = torch.compile(run, fullgraph=True, backend="aot_eager")(leaf)
    assert not result.requires_grad
    expected = FUNCTIONS[name](2 * leaf, steps=3)
    assert_close(result, expected)
    expected.sum().backward()
    assert leaf.grad.isfinite().all()


def test_symbolic_trace_records_ops_and_says_so():
    A = sample("polar")
    traced = torch.fx.symbolic_trace(lambda A: OPS["polar"](A, steps=2))
    assert torch.equal(traced(A), OPS["polar"](A, steps=2))
    with pytest.raises(
        TypeError, match=r"got Proxy: torch.fx.symbolic_trace records calls of torch.ops.prism"
    ):
        torch.fx.symbolic_trace(lambda A: FUNCTIONS["polar"](A, steps=2))


def weighted(name, **options):
    def loss(A):
        return sum((part * part.detach().cos()).sum() for part in tensors(FUNCTIONS[name](A, **options)))

    return loss


@pytest.mark.parametrize(
    ("transform", "gradient"), [(jacrev, "dual"), (jacfwd, "dual"), (hessian, "unrolled")]
)
def test_transforms_compiled(transform, gradient):
    A, run = sample("polar", n=3), transform(weighted("polar", steps=1, gradient=gradient))
    assert_close(torch.compile(run, fullgraph=True, backend="aot_eager")(A), run(A))


def test_compiled_autograd():
    A = sample("sqrtm", n=4)
    leaf, plain = A.clone().requires_grad_(), A.clone().requires_grad_()
    run = weighted("sqrtm", steps=2, gradient="dual")
    run(plain).backward()
    with compiled_autograd._enable(torch.compile(backend="aot_eager", fullgraph=True)):
        run(leaf).backward()
    assert_close(leaf.grad, plain.grad)


def test_two_threads_compile_at_once():
    inputs = [sample("polar", n=n) for n in (5, 6)]

    def work(A):
        return torch.compile(lambda A: pc.polar(A, steps=2), fullgraph=True, backend="aot_eager")(A)

    with ThreadPoolExecutor(2) as pool:
        for result, A in zip(pool.map(work, inputs), inputs):
            assert_close(result, pc.polar(A, steps=2))


@pytest.mark.parametrize("call", [FUNCTIONS["polar"], OPS["polar"]], ids=["function", "op"])
def test_a_branch_of_an_exported_program(call):
    class Branches(torch.nn.Module):
        def forward(self, A):
            return torch.cond(A.sum() > 0, lambda A: call(A, steps=2), lambda A: 2 * A, (A,))

    A = sample("polar", 2)
    A = A * A.sum().sign()
    program = torch.export.export(Branches(), (A,))
    assert_close(program.module()(A), call(A, steps=2))
    assert_close(program.module()(-A), -2 * A)
