"""numpy's numbers wherever a number is taken: eager, traced, in ops, exports and optimizers."""

import io
import re
from fractions import Fraction

import numpy
import pytest
import torch

import prism_compile as pc
from prism_compile.optim import Muon, Shampoo

from .functions import FUNCTIONS, OPS, Module, equal, sample
from .matrices import spd

PLAIN = {"steps": 3, "seed": 4, "sketch_size": 5, "degree": 2}
KINDS = {"steps": numpy.int64, "seed": numpy.uint8, "sketch_size": numpy.int32, "degree": numpy.int16}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_integers_and_damping(name):
    A, given = sample(name), {option: KINDS[option](number) for option, number in PLAIN.items()}
    expected = FUNCTIONS[name](A, **PLAIN)
    assert equal(FUNCTIONS[name](A, **given), expected)
    assert equal(OPS[name](A, **given), expected)
    if name in ("sqrtm", "inv_sqrtm", "sqrtm_pair", "inv_root"):
        for kind in (numpy.float32, numpy.float64, numpy.float16, Fraction):
            assert equal(FUNCTIONS[name](A, eps=kind(0.25)), FUNCTIONS[name](A, eps=0.25))


def test_are_still_refused_where_they_are_no_integers():
    for value in (numpy.float64(3.0), numpy.bool_(True), numpy.array(3), numpy.complex64(3), torch.tensor(3)):
        with pytest.raises(TypeError, match=re.escape("steps must be an int ≥ 1, got")):
            pc.polar(torch.eye(3), steps=value)
    for value in (numpy.bool_(True), True, numpy.array(0.5), numpy.complex64(0.5), torch.tensor(0.5)):
        with pytest.raises(TypeError, match=re.escape("eps must be a number ≥ 0, got")):
            pc.sqrtm(torch.eye(3), eps=value)
    with pytest.raises(ValueError, match="steps must be ≥ 1, got -1"):
        pc.polar(torch.eye(3), steps=numpy.int64(-1))


FOUR, QUARTER = numpy.int64(4), numpy.float64(0.25)


def outside(A):
    return pc.inv_root(A, FOUR, eps=QUARTER, steps=FOUR)


def inside(A):
    return pc.inv_root(A, numpy.int64(4), eps=numpy.float64(0.25), steps=numpy.int32(4))


def test_root_order_and_planning():
    A = spd(6, 20.0)
    assert torch.equal(outside(A), pc.inv_root(A, 4, eps=0.25, steps=4))
    given = {"condition": numpy.float32(1e4), "tol": numpy.float64(1e-3), "degree": numpy.int64(2)}
    steps = pc.steps_for("inv_root", **given, p=numpy.int8(4))
    assert steps == pc.steps_for("inv_root", condition=1e4, tol=1e-3, p=4)


def test_while_tracing():
    """Arguments and what a function reads from outside, in one graph that guards on their values."""
    A = spd(6, 20.0)
    torch._dynamo.reset()
    compiled = torch.compile(pc.inv_root, backend="eager", fullgraph=True)
    # It breaks the graph to read a type whose value Dynamo does not know.
    broken = torch.compile(pc.sqrtm, backend="eager")
    for steps, eps in ((2, 0.25), (3, 0.5)):
        given = {"steps": numpy.int64(steps), "eps": numpy.float64(eps)}
        assert torch.equal(compiled(A, numpy.int64(3), **given), pc.inv_root(A, 3, steps=steps, eps=eps))
        given = {"steps": numpy.int32(steps), "eps": numpy.float32(eps)}
        assert torch.equal(broken(A, **given), pc.sqrtm(A, eps=eps, steps=steps))
    assert torch.equal(torch.compile(outside, backend="eager", fullgraph=True)(A), outside(A))


@pytest.mark.parametrize(("call", "strict"), [(outside, False), (inside, True)])
def test_in_an_export(call, strict):
    """But strictly from outside, of which torch.export knows no values."""
    A = spd(6, 20.0)
    program = torch.export.export(Module(call), (A,), strict=strict)
    assert "prism.inv_root.default" in [str(node.target) for node in program.graph.nodes]
    assert torch.equal(program.module()(A), outside(A))


def test_in_optimizers_whose_checkpoints_hold_python_numbers():
    muon = {"lr": numpy.float32(0.5), "ns_steps": FOUR, "seed": numpy.int32(1), "heads": numpy.int64(2)}
    shampoo = {"lr": numpy.float32(0.5), "eps": numpy.float64(1e-3), "p": FOUR, "steps": numpy.int32(3)}
    for make, options in ((Muon, muon), (Shampoo, shampoo)):
        weights = [torch.nn.Parameter(spd(4, 3.0).float()) for _ in range(2)]
        given = make([weights[0]], **options, compile=False)
        plain = make([weights[1]], **{k: v.item() for k, v in options.items()}, compile=False)
        for optimizer, weight in zip((given, plain), weights):
            weight.grad = torch.eye(4)
            optimizer.step()
        assert torch.equal(*weights)
        file = io.BytesIO()
        torch.save(given.state_dict(), file)
        file.seek(0)
        assert torch.load(file, weights_only=True)["param_groups"][0]["lr"] == 0.5
