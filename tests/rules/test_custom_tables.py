"""Tables of the caller's: in calls, graphs, ops, exports, planning and in Muon."""

import re

import numpy
import pytest
import torch

import prism_compile as pc
from prism_compile.optim import Muon

from ..functions import FUNCTIONS, OPS, Module, equal, sample
from ..matrices import gaussian, spd
from ..optim.training import parameters, relative_difference, train
from .published import PUBLISHED

JORDAN, CLASSICAL = PUBLISHED["jordan"][0], (1.875, -1.25, 0.375)
YOU = PUBLISHED["you"]
OF_ORDER_TWO = [name for name in FUNCTIONS if name not in ("inv", "inv_root")]
A = gaussian(9, 6)


@pytest.mark.parametrize("name", OF_ORDER_TWO)
def test_a_published_table_is_its_rule(name):
    B = sample(name, 2)
    expected = FUNCTIONS[name](B, rule="you", steps=7)
    assert equal(FUNCTIONS[name](B, rule=YOU, steps=7), expected)
    flat = [number for row in YOU for number in row]
    assert equal(OPS[name](B, table=flat, steps=7), expected)


def test_rows_of_any_kind():
    numbers = [tuple(map(numpy.float64, JORDAN)), JORDAN]
    for rows in ((list(JORDAN),), numpy.array([JORDAN]), [numpy.array(JORDAN)], numbers):
        assert torch.equal(pc.polar(A, rule=rows, steps=4), pc.polar(A, rule="jordan", steps=4))
    assert torch.equal(pc.polar(A, rule=[(2, -1, 0)], steps=4), pc.polar(A, rule=[(2.0, -1.0, 0.0)], steps=4))


def test_the_classical_quintic_is_its_rule_to_steps_for_and_gradients():
    goal = {"condition": 100.0, "tol": 1e-3, "scaling": "schatten"}
    steps = pc.steps_for("polar", rule=[CLASSICAL], **goal)
    assert steps == pc.steps_for("polar", rule="taylor", **goal)
    for gradient in ("unrolled", "dual"):
        run, reference = (
            torch.func.grad(lambda X, own=own: pc.sqrtm(X, steps=5, **own)[0, 1])
            for own in ({"gradient": gradient, "rule": rule} for rule in ([CLASSICAL], "taylor"))
        )
        # A table is scaled by the Frobenius norm, and the steps by its logarithm.
        torch.testing.assert_close(run(spd(5, 2.0)), reference(spd(5, 2.0)))


def test_in_one_graph():
    torch._dynamo.reset()
    compiled = torch.compile(pc.polar, backend="eager", fullgraph=True, dynamic=True)
    for rows in ([JORDAN], [CLASSICAL, JORDAN], YOU):
        assert torch.equal(compiled(A, rule=rows, steps=3), pc.polar(A, rule=rows, steps=3))

    def two(B):
        return pc.polar(B, rule=[JORDAN], steps=2), pc.polar(B, rule=[CLASSICAL], steps=2)

    assert equal(torch.compile(two, backend="eager", fullgraph=True)(A), two(A))


@pytest.mark.parametrize("strict", [False, True])
def test_in_an_export(strict, tmp_path):
    module = Module(lambda B: pc.polar(B, rule=[CLASSICAL, JORDAN], steps=3))
    program = torch.export.export(module, (A,), strict=strict)
    (node,) = [node for node in program.graph.nodes if node.op == "call_function"]
    assert node.kwargs == {"steps": 3, "table": [*CLASSICAL, *JORDAN]}
    torch.export.save(program, tmp_path / "program.pt2")
    again = torch.export.load(tmp_path / "program.pt2")
    assert torch.equal(again.module()(A), module(A))
    assert torch.equal(program.run_decompositions().module()(A), module(A))


def test_refusals():
    rows, finite = (
        "rule must have three finite numbers (a, b, c) a row, got ",
        "each number of rule must be a number",
    )
    for call, message in (
        (lambda: pc.polar(A, rule=[]), f"{rows}no row"),
        (lambda: pc.polar(A, rule=JORDAN), f"{rows}the row 3.4445"),
        (lambda: pc.polar(A, rule=[(1.0, 2.0)]), f"{rows}the row (1.0, 2.0)"),
        (lambda: pc.polar(A, rule=[(1.0, 2.0, float("nan"))]), f"{rows}(1.0, 2.0, nan)"),
        (lambda: pc.polar(A, rule=[(1.0, 2.0, "3")]), f"{finite}, got '3' of type str"),
        (lambda: pc.polar(A, rule=[(1.0, 2.0, True)]), f"{finite}, got True of type bool"),
        (lambda: pc.polar(A, rule=[CLASSICAL], degree=1), "degree must be one of (2,)"),
        (lambda: pc.inv(torch.eye(3), rule=[CLASSICAL]), "for an iteration of order p = 1"),
        (
            lambda: torch.ops.prism.polar(A, table=[1.0, 2.0, 3.0, 4.0]),
            "table must hold rows of three numbers, end to end, got 4 numbers",
        ),
        (
            lambda: torch.ops.prism.polar(A, table=[1.0, 2.0, 3.0], rule="taylor"),
            "rule must be left out where table is given, got 'taylor'",
        ),
    ):
        with pytest.raises((TypeError, ValueError), match=re.escape(message)):
            call()


COEFFICIENTS = (2.0, -1.5, 0.5)


def test_muon_with_coefficients_is_torchs():
    params, others = parameters(), parameters()
    train(others, torch.optim.Muon(others, lr=0.05, ns_coefficients=COEFFICIENTS))
    train(params, Muon(params, lr=0.05, ns_coefficients=list(COEFFICIENTS), compile=False))
    # 2⁻⁸ for each of three updates whose sizes are at most some tenths of the parameters'.
    assert relative_difference(params, others) < 0.05 * relative_difference(others, parameters())
    assert relative_difference(params, others) < 3 * 2**-8


def test_muons_rule_and_coefficients_say_the_same():
    for options, rows in (
        ({"ns_coefficients": COEFFICIENTS}, (COEFFICIENTS,)),
        ({"rule": [numpy.array(COEFFICIENTS)]}, (COEFFICIENTS,)),
        # Of several rows torch has no notion.
        ({"rule": [JORDAN, COEFFICIENTS]}, (JORDAN, COEFFICIENTS)),
    ):
        group = Muon(parameters(), **options).param_groups[0]
        assert (group["rule"], group["ns_coefficients"]) == (rows, rows[0])
    with pytest.raises(ValueError, match=r"rule must be None where ns_coefficients are \(2.0, -1.5, 0.5\)"):
        Muon(parameters(), rule="taylor", ns_coefficients=COEFFICIENTS)
