"""steps_for and `tol`: a bound that holds for every spectrum of a condition number; refusals."""

import re
from functools import partial

import numpy
import pytest
import torch

import prism_compile as pc
from prism_compile import steps_for

from .functions import FUNCTIONS, OPS, Module, equal, sample, tensors
from .matrices import F64
from .properties.cases import FUNCTIONS as CASES
from .properties.cases import decomposed, matrix

EPS = torch.finfo(F64).eps


def spectra(n: int, condition: float) -> list[torch.Tensor]:
    """Twelve of a condition number, from 1 down to its reciprocal."""
    index, low = torch.arange(n), 1 / condition
    t = index.to(F64) / max(n - 1, 1)

    def ends(middle: float) -> torch.Tensor:
        return torch.cat([torch.ones(1, dtype=F64), torch.full((n - 2,), middle, dtype=F64), low * t[-1:]])

    def steps(*shares: float) -> torch.Tensor:
        return sum(torch.where(t < share, (1 - low) / len(shares), 0.0) for share in shares).to(F64) + low

    return [
        low**t,
        1 - (1 - low) * t,
        torch.ones(n, dtype=F64),
        ends(1.0),
        ends(low),
        ends(low**0.5),
        steps(0.5),
        steps(0.25),
        steps(0.3, 0.7),
        (1 + index.to(F64)).reciprocal().clamp(min=low),
        (1 + index.to(F64)).pow(-3).clamp(min=low),
        low ** (t**3),
    ]


def matrices(name: str, n: int, condition: float) -> torch.Tensor:
    """One of each spectrum, of the kind that a function takes."""
    kind = CASES[name].kind
    return torch.stack([matrix(kind, v, n, n, F64, seed) for seed, v in enumerate(spectra(n, condition))])


# Other orders are the same code.
PLANNED = [name for name in CASES if name not in ("left factors", *(f"inv_root {p}" for p in (3, 6, 7, 12)))]


def left(name: str, A: torch.Tensor, result) -> torch.Tensor:
    """The rms of 1 - x over A's spectrum, by Rayleigh quotients of the result and A's own vectors.

    They see what the steps leave. The last residual of a history has besides what rounding leaves off the
    diagonal, which a root's worse side multiplies by up to the condition number to the power 3/2.
    """
    W, values, V = decomposed(CASES[name].kind, A)
    bases, index = {"W": W, "V": V}, 0 if name.startswith("polar") else -1
    f, sides = CASES[name].of_values[index]
    quotients = (bases[sides[0]] * (tensors(result)[index] @ bases[sides[1]])).sum(-2)
    return (1 - (quotients / f(values)) ** CASES[name].p).square().mean(-1).sqrt()


@pytest.mark.parametrize("n", [3, 128])
@pytest.mark.parametrize("name", PLANNED)
def test_the_tolerance_holds_for_every_spectrum_of_the_condition(name, n):
    # Of `inv` A is squared, and its least value is beyond 1e7 rounding beside the largest.
    for condition in (1.0, 3.0, 1e3, 1e7 if name == "inv" else 1e8):
        A = matrices(name, n, condition)
        # The quotients are rounded, of a root and an inverse by its condition number.
        rounding = 20 * n**0.5 * EPS * (1 if name.startswith(("polar", "signm")) else condition)
        for tol in (0.3, 1e-3, 1e-7):
            result = CASES[name].call(A, tol=tol, condition=condition)
            assert (left(name, A, result) <= tol * (1 + 1e-6) + rounding).all()


@pytest.mark.parametrize("rule", ["minimax", "taylor", "prism", "polar_express"])
@pytest.mark.parametrize("scaling", ["schatten", "frobenius"])
def test_the_tolerance_holds_for_other_rules(rule, scaling):
    for name in ("polar", "signm", "inv_sqrtm"):
        # Beyond 1e3 of singular values, which is squared, Polar Express' table has ended.
        for condition in (3.0, 30.0):
            for degree in (1, 2) if rule in ("taylor", "prism") else (2,):
                options = {"rule": rule, "scaling": scaling, "degree": degree, "history": True}
                A = matrices(name, 24, condition)
                _, history = FUNCTIONS[name](A, tol=1e-2, condition=condition, **options)
                assert (history.residual[:, -1] <= 1e-2).all()


@pytest.mark.parametrize(("condition", "most"), [(1e2, 4), (1e4, 6), (1e6, 8), (1e8, 9), (1e12, 12)])
def test_steps_to_a_thousandth(condition, most):
    """For every spectrum up to n = 4096; the classical iteration takes half as many again, and more."""
    steps = steps_for("inv_sqrtm", condition=condition, tol=1e-3, n=4096)
    assert steps <= most
    assert steps_for("inv_sqrtm", condition=condition, tol=1e-3, n=4096, rule="taylor") >= 1.5 * steps


def test_grows_with_size():
    plan = partial(steps_for, "sqrtm")
    counts = [plan(condition=1e4, tol=1e-3, n=n) for n in (1, 16, 1024, 2**20)]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]
    # Of a 1×1 matrix scaling finds the value itself.
    assert plan(condition=1.0, tol=0.99, n=1) == 1
    assert plan(condition=1e4, tol=1e-3) == plan(condition=1e4, tol=1e-3, n=16384)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_tolerance_in_place_of_steps(name):
    A = sample(name)
    goal = {"tol": 1e-3, "condition": 20.0}
    p = 3 if name == "inv_root" else None
    for options in ({"rule": "taylor"}, {"degree": 1, "scaling": "frobenius", "rule": "prism"}, {}):
        steps = steps_for(name, **goal, p=p, **options)
        result, history = FUNCTIONS[name](A, **goal, **options, history=True)
        assert history.coefficients.shape[-2] == steps
        assert equal(OPS[name](A, **goal, **options), result)
        if options:
            # A table of its own the interval has by default only.
            assert equal(result, FUNCTIONS[name](A, steps=steps, **options))
    assert equal(FUNCTIONS[name](A), FUNCTIONS[name](A, steps=10))


def test_a_tolerance_while_tracing_and_in_an_export():
    A = sample("polar")
    torch._dynamo.reset()
    compiled = torch.compile(pc.polar, backend="eager", fullgraph=True)
    # A second number would be a symbol, were it not part of the graph.
    for tol, condition in ((1e-1, 10.0), (1e-2, 10.0), (1e-2, numpy.float64(100.0)), (1e-3, 100)):
        expected = pc.polar(A, tol=tol, condition=condition)
        assert torch.equal(compiled(A, tol=tol, condition=condition), expected)
    planned = Module(lambda A: pc.polar(A, tol=1e-2, condition=10.0))
    program = torch.export.export(planned, (A,), strict=True)
    assert torch.equal(program.module()(A), planned(A))


GOAL = {"tol": 1e-3, "condition": 2}
HALVES = [
    ({**GOAL, "steps": 5}, "steps must be None where tol and condition is given, got steps=5"),
    ({"steps": 5, "tol": 0.1}, "steps must be None where tol is given, got steps=5"),
    ({"steps": 5, "condition": 2}, "steps must be None where condition is given, got steps=5"),
    ({"tol": 0.1}, "condition must be given where tol is, got None"),
    ({"condition": 2}, "tol must be given where condition is, got None"),
    ({"tol": 2, "condition": 2}, "tol must be in (0, 1), got 2"),
    ({**GOAL, "rule": "best"}, "rule must be one of"),
    ({**GOAL, "rule": "jordan"}, "rule"),
    # Of Newton's steps nothing bounds what they do to the least value; not all functions have them.
    ({**GOAL, "newton_steps": 1}, "newton_steps"),
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_both_or_half_is_refused(name):
    for options, message in HALVES:
        for run in (FUNCTIONS[name], OPS[name]):
            with pytest.raises((ValueError, TypeError, RuntimeError), match=re.escape(message)):
                run(torch.eye(3), **options)


REFUSALS = [
    ({"condition": 0.5}, "condition must be finite and ≥ 1, got 0.5"),
    ({"condition": float("inf")}, "condition must be finite"),
    ({"condition": "big"}, "condition must be a number ≥ 1, got 'big' of type"),
    ({"tol": 0.0}, "tol must be in (0, 1), got 0.0"),
    ({"degree": 3}, "degree must be 1 or 2, got 3"),
    ({"scaling": "x"}, "scaling must be one of"),
    ({"rule": "x"}, "rule must be one of 'prism', 'taylor'"),
    ({"tol": 1e-6, "rule": "jordan"}, "does not reach tol = 1e-06"),
    ({"p": 2}, "p must be None for 'sqrtm', whose order is 2, got 2"),
    ({"function": "inv_root", "p": 0}, "p must be ≥ 1, got 0"),
    ({"function": "inv_root"}, "p must be an int ≥ 1, got None"),
    ({"function": "inv_root", "p": 4, "rule": "you"}, "'you', which is for p in"),
    ({"function": "logm"}, "function must be one of 'polar', 'polar"),
    ({"function": 1e4}, "got 10000.0"),
    ({"function": "inv", "condition": 1e200}, "finite, its square too, and ≥ 1"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSALS)
def test_refusals(arguments, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        steps_for(**{"function": "sqrtm", "condition": 10, "tol": 0.1} | arguments)
