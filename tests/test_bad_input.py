"""Every refusal, and what it says."""

import re

import numpy
import pytest
import torch

import prism_compile as pc

from .functions import FUNCTIONS

EACH = pytest.mark.parametrize("name", FUNCTIONS)
EYE = torch.eye(3)

MATRICES = [
    ([[1.0, 0.0]], TypeError, "A must be a torch.Tensor, got list"),
    (torch.eye(3, dtype=torch.int64), TypeError, "A must be floating-point or complex (float64, float32"),
    (torch.eye(3, dtype=torch.bool), TypeError, "got torch.bool"),
    (numpy.eye(3), TypeError, "A must be a torch.Tensor, got ndarray"),
    (
        torch.eye(3).to_sparse(),
        TypeError,
        "A must be a dense torch.Tensor (layout torch.strided), got",
    ),
    (torch.eye(3).to_sparse(), TypeError, "got layout torch.sparse_coo"),
    (torch.eye(3).to_sparse_csr(), TypeError, "got layout torch.sparse_csr"),
    (torch.eye(3).to_sparse_csc(), TypeError, "got layout torch.sparse_csc"),
    (torch.eye(4).to_sparse_bsr((2, 2)), TypeError, "got layout torch.sparse_bsr"),
    (torch.nested.nested_tensor([torch.eye(2)]), TypeError, "got a nested tensor"),
    (torch.ones(3), ValueError, "A must have at least 2 dimensions [..., m, n], got shape (3,)"),
    (torch.tensor(1.0), ValueError, "got shape ()"),
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
]


@EACH
@pytest.mark.parametrize(("A", "error", "message"), MATRICES)
def test_matrix(name, A, error, message):
    with pytest.raises(error, match=re.escape(message)):
        FUNCTIONS[name](A)


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
@EACH
def test_masked(name):
    A = torch.masked.masked_tensor(EYE, EYE > 0)
    with pytest.raises(TypeError, match=re.escape("(layout torch.strided), got a MaskedTensor")):
        FUNCTIONS[name](A)


@EACH
@pytest.mark.parametrize(("options", "error", "message"), OPTIONS)
def test_options(name, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        FUNCTIONS[name](EYE, **options)


@pytest.mark.parametrize("name", ["polar", "polar_factors"])
def test_form(name):
    with pytest.raises(
        ValueError, match=re.escape("form must be one of 'auto', 'direct', 'gram', got 'tall'")
    ):
        FUNCTIONS[name](EYE, form="tall")


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not name.startswith("polar")])
def test_not_square(name):
    with pytest.raises(ValueError, match=re.escape("A must be square [..., n, n], got shape (2, 3, 4)")):
        FUNCTIONS[name](torch.ones(2, 3, 4))


@pytest.mark.parametrize("p", [0, -2])
def test_root_order_range(p):
    with pytest.raises(ValueError, match=f"p must be ≥ 1, got {p}"):
        pc.inv_root(EYE, p)


@pytest.mark.parametrize("p", [0.5, "2", None, True])
def test_root_order_type(p):
    with pytest.raises(TypeError, match=re.escape(f"p must be an int ≥ 1, got {p!r}")):
        pc.inv_root(EYE, p)


@pytest.mark.parametrize("name", ["sqrtm", "inv_sqrtm", "sqrtm_pair", "inv_root"])
@pytest.mark.parametrize(
    ("eps", "error", "message"),
    [
        (-1e-3, ValueError, "eps must be finite and ≥ 0, got -0.001"),
        (float("nan"), ValueError, "eps must be finite and ≥ 0, got nan"),
        ("small", TypeError, "eps must be a number ≥ 0, got 'small' of type str"),
    ],
)
def test_damping(name, eps, error, message):
    with pytest.raises(error, match=re.escape(message)):
        FUNCTIONS[name](EYE, eps=eps)


def test_tables_are_quintics_for_square_root_orders():
    with pytest.raises(ValueError, match=re.escape("degree must be one of (2,) for rule 'jordan', got 1")):
        pc.polar(EYE, rule="jordan", degree=1)
    for call in (pc.inv, lambda A, **kw: pc.inv_root(A, 4, **kw)):
        with pytest.raises(
            ValueError, match=r"rule must be one of .*'taylor'.* for an iteration of order p = "
        ):
            call(EYE, rule="polar_express")


def test_refused_while_tracing_too():
    # Dynamo makes a symbol of a number that another test gave otherwise.
    torch._dynamo.reset()
    with pytest.raises(Exception, match=r"steps must be ≥ 1, got 0"):
        torch.compile(pc.polar, backend="eager", fullgraph=True)(EYE, steps=0)


@pytest.mark.parametrize("op", [torch.ops.prism.polar, torch.ops.prism.inv], ids=["polar", "inv"])
def test_sparse_in_ops(op):
    with pytest.raises(TypeError, match=r"A must be a dense .* got layout torch.sparse_csr"):
        op(torch.eye(3).to_sparse_csr())
