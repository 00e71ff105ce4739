"""Every refusal, and what it says."""

import re

import numpy
import pytest
import torch

import prism_compile as pc

from .functions import FUNCTIONS, OPS

EYE = torch.eye(3)
MATRICES = [
    ([[1.0, 0.0]], TypeError, "A must be a torch.Tensor, got list"),
    (numpy.eye(3), TypeError, "A must be a torch.Tensor, got ndarray"),
    (torch.eye(3, dtype=torch.int64), TypeError, "A must be floating-point or complex (float64, float32"),
    (torch.empty(3, 3, dtype=torch.complex32), TypeError, "complex128, complex64), got torch.complex32"),
    (
        EYE.to_sparse(),
        TypeError,
        "A must be a dense torch.Tensor (layout torch.strided), got layout torch.sp",
    ),
    (EYE.to_sparse_csr(), TypeError, "got layout torch.sparse_csr"),
    (torch.nested.nested_tensor([torch.eye(2)]), TypeError, "got a nested tensor"),
    (torch.ones(3), ValueError, "A must have at least 2 dimensions [..., m, n], got shape (3,)"),
]
OPTIONS = [
    ({"steps": 0}, ValueError, "steps must be ≥ 1, got 0"),
    ({"steps": 2.0}, TypeError, "steps must be an int ≥ 1, got 2.0 of type float"),
    ({"steps": True}, TypeError, "steps must be an int ≥ 1, got True"),
    ({"degree": 3}, ValueError, "degree must be 1 or 2, got 3"),
    ({"degree": "2"}, TypeError, "degree must be an int ≥ 1, got '2' of type str"),
    ({"rule": "best"}, ValueError, "rule must be one of 'prism', 'taylor'"),
    ({"rule": 5}, ValueError, "got 5"),
    ({"scaling": "spectral"}, ValueError, "scaling must be one of 'schatten', 'frobenius', got 'spectral'"),
    ({"sketch_size": 0}, ValueError, "sketch_size must be ≥ 1, got 0"),
    ({"seed": -1}, ValueError, "seed must be ≥ 0, got -1"),
    ({"seed": 0.5}, TypeError, "seed must be an int"),
    ({"history": 1}, TypeError, "history must be True or False, got 1"),
    ({"gradient": "none"}, ValueError, "gradient must be one of 'unrolled', 'dual', got 'none'"),
]
# Of some functions.
OWN = [
    ("polar", {"form": "tall"}, "form must be one of 'auto', 'direct', 'gram', got 'tall'"),
    *(
        ("polar_factors", {"side": s}, f"side must be one of 'right', 'left', got {s!r}")
        for s in ("both", None)
    ),
    *(("inv_root", {"p": p}, f"p must be ≥ 1, got {p}") for p in (0, -2)),
    *(("inv_root", {"p": p}, f"p must be an int ≥ 1, got {p!r}") for p in (0.5, "2", None, True)),
    *(
        (name, options, message)
        for name in FUNCTIONS
        if not name.startswith("inv_root") and name != "inv"
        for options, message in (
            ({"newton_steps": -1}, "newton_steps must be ≥ 0, got -1"),
            ({"steps": 3, "newton_steps": 4}, "newton_steps must be ≤ steps = 3, got 4"),
            ({"newton_steps": 1.0}, "newton_steps must be an int ≥ 0, got 1.0 of type float"),
        )
    ),
    ("polar", {"rule": "jordan", "degree": 1}, "degree must be one of (2,) for rule 'jordan', got 1"),
    ("inv", {"rule": "polar_express"}, "for an iteration of order p = 1"),
    ("inv_root", {"p": 4, "rule": "you"}, "for an iteration of order p = 4"),
    *(
        (name, {"eps": eps}, message)
        for name in ("sqrtm", "inv_sqrtm", "sqrtm_pair", "inv_root")
        for eps, message in (
            (-1e-3, "eps must be finite and ≥ 0, got -0.001"),
            (float("nan"), "eps must be finite and ≥ 0, got nan"),
            ("small", "eps must be a number ≥ 0, got 'small' of type str"),
        )
    ),
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_and_op_says_what_it_was_given_and_what_is_allowed(name):
    call, op = FUNCTIONS[name], OPS[name]
    refused = [(call, A, {}, error, message) for A, error, message in MATRICES]
    refused += [(call, EYE, *case) for case in OPTIONS]
    if not name.startswith("polar"):
        square = "A must be square [..., n, n], got shape (2, 3, 4)"
        refused.append((call, torch.ones(2, 3, 4), {}, ValueError, square))
    # Types of arguments are the schema's to refuse; these are the function's.
    refused += [(op, A, {}, error, message) for A, error, message in MATRICES[2:6]]
    refused += [(op, EYE, *case) for case in OPTIONS if case[1] is ValueError and case[0] != {"rule": 5}]
    for run, A, options, error, message in refused:
        with pytest.raises(error, match=re.escape(message)):
            run(A, **options)


@pytest.mark.parametrize(("name", "options", "message"), OWN, ids=str)
def test_what_one_function_refuses(name, options, message):
    call = pc.inv_root if "p" in options else FUNCTIONS[name]
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        call(EYE, **options)


@pytest.mark.parametrize("name", ["polar", "polar_factors"])
def test_newton_steps_are_refused_where_a_matrix_is_not_square(name):
    message = "newton_steps must be 0 for a matrix that is not square, got 1 for A of shape (8, 5)"
    with pytest.raises(ValueError, match=re.escape(message)):
        FUNCTIONS[name](torch.ones(8, 5), newton_steps=1)


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_masked(name):
    A = torch.masked.masked_tensor(EYE, EYE > 0)
    with pytest.raises(TypeError, match=re.escape("(layout torch.strided), got a MaskedTensor")):
        FUNCTIONS[name](A)


def test_refused_while_tracing_too():
    # Dynamo makes a symbol of a number that another test gave otherwise.
    torch._dynamo.reset()
    with pytest.raises(Exception, match=r"steps must be ≥ 1, got 0"):
        torch.compile(pc.polar, backend="eager", fullgraph=True)(EYE, steps=0)


def test_a_refusal_that_breaks_a_graph_leaves_other_calls_alone():
    torch._dynamo.reset()
    compiled = torch.compile(pc.polar, backend="aot_eager")
    expected = compiled(EYE)
    with pytest.raises(ValueError, match="ridge must be finite and ≥ 0"):
        torch.compile(pc.inv_sqrtm, backend="aot_eager")(EYE, ridge=-1.0)
    assert torch.equal(compiled(EYE), expected)
