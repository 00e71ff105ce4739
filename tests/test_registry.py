"""The ops themselves: schemas, opcheck, refusals, fusion and the compile cache."""

import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import prism_compile as pc

from .functions import FUNCTIONS, OPS, equal, sample

ROOT = Path(__file__).parent.parent
EACH = pytest.mark.parametrize("name", FUNCTIONS)


@EACH
def test_op_equals_function_but_for_histories(name):
    A = sample(name, 2)
    assert equal(OPS[name](A, steps=4, seed=2), FUNCTIONS[name](A, steps=4, seed=2))
    with pytest.raises(RuntimeError, match="history"):
        OPS[name](A, history=True)


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


# All are registered alike.
@pytest.mark.parametrize("name", ["polar_factors", "inv_root", "inv"])
def test_opcheck(name):
    op = getattr(torch.ops.prism, name)
    arguments = (sample(name, 2, n=3).requires_grad_(),) + ((3,) if name == "inv_root" else ())
    assert set(torch.library.opcheck(op, arguments, {"steps": 2}).values()) == {"SUCCESS"}


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
        return subprocess.check_output(command, cwd=tmp_path, env=environment, text=True).split()

    first = keys()
    with (tmp_path / "prism_compile" / "_rules" / "tables.py").open("a") as file:
        file.write("# changed\n")
    assert [old == new for old, new in zip(first, keys(), strict=True)] == [False, False, True]
