"""The ops themselves: schemas, opcheck, refusals, fusion and the compile cache."""

import inspect
import os
import re
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


TAG_SCRIPT = """
import torch, prism_compile
from torch.compiler import config
A = torch.eye(3)
options = {"steps": 1, "rule": "jordan"}
torch.ops.prism.polar(A, **options)
torch.compile(lambda A: prism_compile.polar(A, **options), fullgraph=True, backend="aot_eager")(A)
assert config.cache_key_tag == "", "what holds no op needs no key"
config.cache_key_tag = "mine"
for _ in range(2):
    torch.compile(lambda A: torch.ops.prism.polar(A, **options), fullgraph=True, backend="aot_eager")(A)
print(config.cache_key_tag)
"""


def test_a_graph_that_calls_an_op_is_cached_by_the_source():
    done = subprocess.run([sys.executable, "-c", TAG_SCRIPT], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Beside the caller's own, and once.
    assert re.fullmatch(r"mine prism_compile=[0-9a-f]{16}\n", done.stdout)


SCRIPT = """
import torch, prism_compile
A = torch.arange(12.0).reshape(4, 3).cos()
run = torch.compile(lambda A: torch.ops.prism.polar(A, steps=1, rule="jordan"), fullgraph=True)
assert torch.allclose(run(A), torch.ops.prism.polar(A, steps=1, rule="jordan"), atol=1e-6), "stale"
print(run(A).norm().item())
"""


def test_a_changed_source_is_not_served_from_the_compile_cache(tmp_path):
    shutil.copytree(ROOT / "prism_compile", tmp_path / "prism_compile")
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }

    def run() -> str:
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = run()
    rule = tmp_path / "prism_compile" / "_rules" / "tables.py"
    published = rule.read_text()
    assert "3.4445" in published
    rule.write_text(published.replace("3.4445", "3.0"))
    assert run() != first
