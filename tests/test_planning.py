"""steps_for against the golden trajectories' step counts and the functions' residuals, and its refusals."""

import re
from functools import partial

import numpy
import pytest
import torch

import prism_compile as pc
from prism_compile import steps_for

from .functions import FUNCTIONS, OPS, sample, tensors
from .matrices import log_spaced, spd, with_eigenvalues, with_singular_values


# Steps to 1e-3 that the exact fit takes on 200 log-spaced eigenvalues (golden/trajectories.json).
@pytest.mark.parametrize(
    ("condition", "degree", "rule", "expected"),
    [(1e4, 2, "prism", 6), (1e4, 1, "prism", 9), (1e4, 2, "taylor", 10)],
)
def test_matches_the_exact_fit(condition, degree, rule, expected):
    assert steps_for("sqrtm", condition=condition, tol=1e-3, degree=degree, rule=rule) == expected


def test_grows_with_condition_and_accuracy():
    plan = partial(steps_for, "sqrtm")
    counts = [plan(condition=10.0**k, tol=1e-3) for k in range(1, 10)]
    assert counts == sorted(counts)
    # The default plans for the tolerance that is near; what is left the classical step cubes.
    for rule in (None, "prism"):
        further = plan(condition=1e4, tol=1e-12, rule=rule) - plan(condition=1e4, tol=1e-3, rule=rule)
        assert further == (3 if rule is None else 2)
    assert plan(condition=1e4, tol=1e-12) == plan(condition=1e4, tol=1e-12, rule="prism")
    assert plan(condition=1.0, tol=0.99) == 1


@pytest.mark.parametrize("p", [1, 2, 3, 4, 8])
def test_prism_needs_no_more_steps_than_taylor(p):
    plan = partial(steps_for, "inv_root", tol=1e-3, p=p)
    for condition in (3.0, 1e3, 1e6):
        assert plan(condition=condition) <= plan(condition=condition, rule="taylor")


TOLERANCES = [(name, tol) for name in FUNCTIONS for tol in (1e-1, 1e-3)]


@pytest.mark.parametrize(("name", "tol"), TOLERANCES)
def test_what_it_names_is_what_the_function_takes_for_its_own_condition_number(name, tol):
    """Of 256 log-spaced singular values, which are those it plans for; a step fewer misses the tolerance."""
    condition, n = 30.0, 256
    values = log_spaced(n, condition)
    if name == "signm":
        values = values * torch.where(torch.arange(n) % 2 == 0, 1.0, -1.0)
    general = name.startswith("polar") or name == "inv"
    A = with_singular_values(values, n, n) if general else with_eigenvalues(values)
    p = 3 if name == "inv_root" else None
    steps = steps_for(name, condition=condition, tol=tol, p=p)
    run = partial(FUNCTIONS[name], A, history=True, sketch_size=32)

    def last(steps: int) -> float:
        return run(steps=steps)[1].residual[-1].item()

    # What the sketch makes of moments that planning knows exactly.
    assert last(steps) < 1.1 * tol
    assert last(steps - 1) > tol / 1.1


def test_log_uniform_spectrum_needs_what_steps_for_says():
    for condition in (1e2, 1e5):
        steps = steps_for("sqrtm", condition=condition, tol=1e-3)
        _, history = pc.sqrtm(spd(150, condition), steps=steps + 2, history=True)
        first = int((history.residual < 1e-3).nonzero()[0])
        assert abs(first - steps) <= 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_tolerance_in_place_of_steps(name):
    A = sample(name)
    goal = {"tol": 1e-3, "condition": 20.0}
    p = 3 if name == "inv_root" else None
    for options in ({}, {"rule": "taylor"}, {"degree": 1, "scaling": "frobenius", "rule": "prism"}):
        steps = steps_for(name, **goal, p=p, **options)
        expected = tensors(FUNCTIONS[name](A, steps=steps, **options))
        assert all(map(torch.equal, tensors(FUNCTIONS[name](A, **goal, **options)), expected))
        assert all(map(torch.equal, tensors(OPS[name](A, **goal, **options)), expected))
    assert all(map(torch.equal, tensors(FUNCTIONS[name](A)), tensors(FUNCTIONS[name](A, steps=10))))


def test_a_tolerance_while_tracing_and_in_an_export():
    A = sample("polar")
    torch._dynamo.reset()
    compiled = torch.compile(pc.polar, backend="eager", fullgraph=True)
    # A second number would be a symbol, were it not part of the graph.
    for tol, condition in ((1e-1, 10.0), (1e-2, 10.0), (1e-2, numpy.float64(100.0)), (1e-3, 100)):
        expected = pc.polar(A, steps=steps_for("polar", tol=tol, condition=condition))
        assert torch.equal(compiled(A, tol=tol, condition=condition), expected)

    class Planned(torch.nn.Module):
        def forward(self, A):
            return pc.polar(A, tol=1e-2, condition=10.0)

    program = torch.export.export(Planned(), (A,), strict=True)
    assert torch.equal(program.module()(A), Planned()(A))


HALVES = [
    (
        {"steps": 5, "tol": 0.1, "condition": 2},
        "steps must be None where tol and condition is given, got steps=5",
    ),
    ({"steps": 5, "tol": 0.1}, "steps must be None where tol is given, got steps=5"),
    ({"steps": 5, "condition": 2}, "steps must be None where condition is given, got steps=5"),
    ({"tol": 0.1}, "condition must be given where tol is, got None"),
    ({"condition": 2}, "tol must be given where condition is, got None"),
    ({"tol": 2, "condition": 2}, "tol must be in (0, 1), got 2"),
    ({"tol": 1e-3, "condition": 2, "rule": "best"}, "rule must be one of"),
    ({"tol": 1e-3, "condition": 2, "rule": "jordan"}, "rule"),
]


@pytest.mark.parametrize(("options", "message"), HALVES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_both_or_half_is_refused(name, options, message):
    for run in (FUNCTIONS[name], OPS[name]):
        with pytest.raises(ValueError, match=re.escape(message)):
            run(torch.eye(3), **options)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"condition": 0.5, "tol": 0.1}, ValueError, "condition must be finite and ≥ 1, got 0.5"),
        ({"condition": float("inf"), "tol": 0.1}, ValueError, "condition must be finite"),
        (
            {"condition": "big", "tol": 0.1},
            TypeError,
            "condition must be a number ≥ 1, got 'big' of type",
        ),
        ({"condition": 10, "tol": 0.0}, ValueError, r"tol must be in \(0, 1\), got 0.0"),
        ({"function": "inv_root", "condition": 10, "tol": 0.1, "p": 0}, ValueError, "p must be ≥ 1, got 0"),
        ({"condition": 10, "tol": 0.1, "degree": 3}, ValueError, "degree must be 1 or 2, got 3"),
        ({"condition": 10, "tol": 0.1, "rule": "x"}, ValueError, "rule must be one of 'prism', 'taylor'"),
        ({"function": "inv_root", "condition": 10, "tol": 0.1}, TypeError, "p must be an int ≥ 1, got None"),
        (
            {"condition": 10, "tol": 0.1, "p": 2},
            ValueError,
            "p must be None for 'sqrtm', whose order is 2, got 2",
        ),
        (
            {"function": "logm", "condition": 10, "tol": 0.1},
            ValueError,
            "function must be one of 'polar', 'polar",
        ),
        ({"function": 1e4, "condition": 10, "tol": 0.1}, ValueError, "got 10000.0"),
        ({"function": "inv", "condition": 1e200, "tol": 0.1}, ValueError, "finite, its square too, and ≥ 1"),
        ({"condition": 10, "tol": 0.1, "scaling": "x"}, ValueError, "scaling must be one of"),
        ({"condition": 10, "tol": 1e-6, "rule": "jordan"}, ValueError, "does not reach tol = 1e-06"),
        (
            {"function": "inv_root", "condition": 10, "tol": 0.1, "p": 4, "rule": "you"},
            ValueError,
            "'you', which is for p in",
        ),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        steps_for(**{"function": "sqrtm"} | arguments)
