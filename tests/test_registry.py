"""The ops themselves: schemas, opcheck, refusals, fusion and the compile cache."""

import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._dynamo.testing import AotEagerAndRecordGraphs

import prism_compile as pc

from .functions import FUNCTIONS, OPS, sample, tensors
from .matrices import gaussian

ROOT = Path(__file__).parent.parent
EACH = pytest.mark.parametrize("name", FUNCTIONS)


@EACH
def test_op_equals_function(name):
    A = sample(name, 2)
    results = tensors(OPS[name](A, steps=4, seed=2))
    assert all(map(torch.equal, results, tensors(FUNCTIONS[name](A, steps=4, seed=2))))


@EACH
def test_schema_has_the_functions_options_and_defaults(name):
    schema = getattr(torch.ops.prism, name).default._schema
    parameters = inspect.signature(getattr(pc, name)).parameters
    # A rule that is a table is an argument of its own.
    names = [a.name for a in schema.arguments if a.name != "table"]
    assert names == [n for n in parameters if n != "history"]
    for argument in schema.arguments:
        if argument.name not in ("A", "p", "table"):
            assert argument.default_value == parameters[argument.name].default
            assert argument.kwarg_only


@EACH
def test_opcheck(name):
    op = getattr(torch.ops.prism, name)
    arguments = (sample(name, 2, n=3).requires_grad_(),) + ((3,) if name == "inv_root" else ())
    assert set(torch.library.opcheck(op, arguments, {"steps": 2}).values()) == {"SUCCESS"}


@EACH
def test_refusals_are_the_functions(name):
    op = OPS[name]
    with pytest.raises(ValueError, match="steps must be ≥ 1, got 0"):
        op(torch.eye(3), steps=0)
    with pytest.raises(ValueError, match="rule must be one of 'prism'"):
        op(torch.eye(3), rule="best")
    with pytest.raises(ValueError, match="gradient must be one of 'unrolled', 'dual', got 'none'"):
        op(torch.eye(3), gradient="none")
    with pytest.raises(TypeError, match="A must be floating-point or complex"):
        op(torch.eye(3, dtype=torch.int32))
    with pytest.raises(RuntimeError, match="history"):
        op(torch.eye(3), history=True)


def test_autocast_does_not_touch_the_products():
    A = gaussian(8, 5).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(torch.ops.prism.polar(A), pc.polar(A))


class Called(torch.nn.Module):
    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def forward(self, A):
        return OPS[self.name](A, steps=1)


@EACH
def test_an_op_in_a_compiled_graph_is_labelled_as_its_function(name):
    recorder = AotEagerAndRecordGraphs()
    torch._dynamo.reset()
    torch.compile(Called(name), fullgraph=True, backend=recorder)(sample(name))
    nodes = [node for node in recorder.fw_graphs[0].graph.nodes if node.op == "call_function"]
    assert {node.meta.get("custom", {}).get("prism") for node in nodes} == {name}


KEYS_SCRIPT = """
import torch, prism_compile
from torch._functorch._aot_autograd.autograd_cache import autograd_cache_key
from torch._functorch.aot_autograd import AOTConfig
from torch.utils.flop_counter import FlopCounterMode

def backend(graph, inputs):
    print(autograd_cache_key(graph, inputs, AOTConfig(None, None, None, {}, 0, 0, False))[0])
    return graph.forward

def op(A):
    return torch.ops.prism.polar(A, steps=1, rule="jordan")

def inside(A):
    return torch.utils.checkpoint.checkpoint(op, A, use_reentrant=False)

A = torch.eye(3)
with FlopCounterMode(display=False):
    op(A)
for function in (op, inside, lambda A: A @ A):
    torch.compile(function, fullgraph=True, backend=backend)(A)
assert torch.compiler.config.cache_key_tag == ""
"""


def test_only_graphs_that_call_an_op_are_cached_by_the_source(tmp_path):
    shutil.copytree(ROOT / "prism_compile", tmp_path / "prism_compile")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def keys() -> list[str]:
        command = [sys.executable, "-c", KEYS_SCRIPT]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    first = keys()
    with (tmp_path / "prism_compile" / "_rules" / "tables.py").open("a") as file:
        file.write("# changed\n")
    assert [old == new for old, new in zip(first, keys(), strict=True)] == [False, False, True]
