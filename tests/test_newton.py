"""Newton's steps, with an inverse: against decompositions, on spectra of every kind, and in graphs."""

import mpmath
import pytest
import torch
from torch._dynamo.testing import AotEagerAndRecordGraphs
from torch.autograd import gradcheck
from torch.func import grad, vmap

import prism_compile as pc

from .functions import FUNCTIONS, OPS, Module, assert_close, equal, tensors
from .matrices import (
    F64,
    alternating,
    gaussian,
    log_spaced,
    relative_error,
    spd,
    with_eigenvalues,
    with_singular_values,
)
from .properties.cases import oracle

EPS = torch.finfo(F64).eps
NAMES = ("polar", "polar_factors", "signm", "sqrtm", "inv_sqrtm", "sqrtm_pair")
EACH = pytest.mark.parametrize("name", NAMES)
MODES = pytest.mark.parametrize("gradient", ["unrolled", "dual"])


def sample(name: str, n: int = 8, condition: float = 20.0, dtype: torch.dtype = F64) -> torch.Tensor:
    """A square matrix for a function."""
    if name.startswith("polar"):
        return with_singular_values(log_spaced(n, condition), n, n, dtype=dtype)
    return with_eigenvalues(
        log_spaced(n, condition) * (alternating(n) if name == "signm" else 1), dtype=dtype
    )


# At condition 1e12 eigh is no oracle in float64, where rounding A alone moves the result by 1e12 units of the
# last place.
def in_many_digits(A: torch.Tensor, function) -> torch.Tensor:
    with mpmath.workdps(40):
        values, Q = mpmath.eigsy(mpmath.matrix(A.tolist()))
        X = Q * mpmath.diag([function(value) for value in values]) * Q.T
        return torch.tensor([[float(x) for x in X[i, :]] for i in range(X.rows)], dtype=F64)


@pytest.mark.parametrize("steps", [7, 8])
def test_condition_1e12_to_1e_6_in_at_most_eight_steps(steps):
    A, root, inverse = spd(20, 1e12), mpmath.sqrt, lambda x: 1 / mpmath.sqrt(x)
    signed = with_eigenvalues(log_spaced(20, 1e12) * alternating(20))
    # The sign of a symmetric matrix is its polar factor.
    for name, B, exact in (
        ("sqrtm", A, root),
        ("inv_sqrtm", A, inverse),
        ("signm", signed, mpmath.sign),
        ("polar", signed, mpmath.sign),
    ):
        found = FUNCTIONS[name](B, steps=steps, newton_steps=steps)
        assert relative_error(found, in_many_digits(B, exact)) < 1e-6, name


def hilbert(n: int) -> torch.Tensor:
    i = torch.arange(n, dtype=F64)
    return 1 / (i[:, None] + i + 1)


def graded(n: int) -> torch.Tensor:
    scale = 10.0 ** -torch.linspace(0, 4, n, dtype=F64)
    return scale[:, None] * spd(n, 10.0) * scale


HARD = {
    "hilbert": hilbert(6),
    "graded": graded(10),
    "repeated": with_eigenvalues(torch.tensor([1.0] * 6 + [1e-6] * 5 + [1e-3], dtype=F64)),
    "outlier": with_eigenvalues(torch.tensor([1.0] * 11 + [1e-8], dtype=F64)),
    "spike": with_eigenvalues(torch.tensor([1.0] + [1e-8] * 11, dtype=F64)),
}


@EACH
@pytest.mark.parametrize("case", HARD)
def test_hard_matrices(name, case):
    A = HARD[case]
    values = torch.linalg.eigvalsh(A)
    # eigh's own error is of this size.
    bar = 100 * EPS * (values.amax() / values.amin()).item()
    # All steps, the leading one, and some of them.
    single = 16 if name.startswith("polar") or name == "signm" else 12
    for steps, newton_steps in ((9, 9), (single, 1), (10, 3)):
        found = tensors(FUNCTIONS[name](A, steps=steps, newton_steps=newton_steps))
        assert max(map(relative_error, found, oracle(name, A))) < bar


def test_scales_within_a_float32_matrix_do_not_overflow():
    values = torch.tensor([1.0, 1e-10, 1e-20, 1e-30])
    A, one = torch.diag(values), torch.ones(4)
    exact = {"polar": one, "signm": one, "sqrtm": values.sqrt(), "inv_sqrtm": values.rsqrt()}
    for name, expected in exact.items():
        result = FUNCTIONS[name](A, steps=8, newton_steps=8)
        torch.testing.assert_close(result.diagonal(), expected, rtol=1e-5, atol=0)


def test_sign_of_matrices_with_complex_eigenvalues_and_far_from_normal():
    A = gaussian(24, 24, seed=3)
    values, V = torch.linalg.eig(A)
    assert values.imag.abs().max() > 1
    exact = ((V * values.real.sign()) @ torch.linalg.inv(V)).real
    assert relative_error(pc.signm(A, newton_steps=10), exact) < 1e-10
    T = torch.triu(gaussian(24, 24, seed=5))
    T.diagonal().add_(T.diagonal().sign())
    S, history = pc.signm(T, steps=12, newton_steps=12, history=True)
    assert (S.diagonal() - T.diagonal().sign()).abs().max() < 1e-12
    assert relative_error(S @ T, T @ S) < 1e-11
    assert history.residual[-1] < 1e-11


@pytest.mark.parametrize("condition", [3.0, 1e3, 1e6])
def test_each_coefficient_is_the_best_in_its_interval(condition):
    """x ← (1 - α) x + α/x, and of all α in (0, 1] none leaves less of 1 - x² in the root mean square."""
    values = log_spaced(30, condition)
    _, history = pc.sqrtm(with_eigenvalues(values), steps=4, newton_steps=4, history=True)
    x, grid = (values / values.norm()).sqrt(), torch.logspace(-14, 0, 40000, dtype=F64)
    for residual, alpha in zip(history.residual, history.coefficient):
        # Of the matrix whose root is taken.
        torch.testing.assert_close(residual, (1 - x * x).square().mean().sqrt(), rtol=1e-6, atol=1e-12)
        tried = (1 - grid[:, None]) * x + grid[:, None] / x
        x = (1 - alpha) * x + alpha / x
        assert (1 - x * x).square().sum() <= (1 - tried * tried).square().sum(-1).min() * (1 + 1e-6) + 1e-20
        assert 0 < alpha <= 1


def spectra():
    """Values from which a bad step would not recover."""
    for n in (1, 2, 40):
        for exponent in (1, 6, 12, 24):
            least, one = 10.0**-exponent, torch.ones(n, dtype=F64)
            yield log_spaced(n, 10.0**exponent)
            yield torch.cat((one[1:], one[:1] * least))
            yield torch.cat((one[:1], one[1:] * least))
            yield torch.cat((one[: n // 3], one[n // 3 :] * least**0.5, one[:1] * least))
            yield (1 / torch.arange(1, n + 1, dtype=F64) ** exponent).clamp(min=1e-24)


@pytest.mark.parametrize("rule", ["adaptive", "prism", "taylor", "polar_express"])
def test_every_spectrum_converges_and_stays_converged(rule):
    """Of diagonal matrices, whose values x go down to 1e-12 and are known to the end."""
    # Of all steps the coefficients are Newton's. Three polynomials bring what six steps leave to rounding,
    # that table slower. However many follow, what is at one by then is not lifted above it.
    runs = [(9, 6, 1e-8 if rule == "polar_express" else 1e-12), (30, 3, 1e-12)]
    for values in spectra():
        for steps, newton_steps, bar in [*runs, *([(8, 8, 1e-12)] if rule == "prism" else [])]:
            U = pc.polar(torch.diag(values.sqrt()), steps=steps, newton_steps=newton_steps, rule=rule)
            assert (U.diagonal() - 1).abs().max() < bar


@pytest.mark.parametrize("newton_steps", [1, 2, 6])
@pytest.mark.parametrize("steps", [8, 14, 30])
def test_tables_after_them_hold_what_has_converged(steps, newton_steps):
    """A bound on the values that rounding left too low gave NaN: a table multiplies by ten what is above."""
    for values in (HARD["spike"], HARD["outlier"], HARD["repeated"], torch.eye(7, dtype=F64)):
        # Of eigenvalues down to 1e-8 the roots: what rounding may do is 1e4 ε.
        A = with_eigenvalues(torch.linalg.eigvalsh(values).sqrt())
        left = [
            pc.polar(A, steps=steps, newton_steps=newton_steps, rule=rule, history=True)[1].residual[-1]
            for rule in ("adaptive", "minimax", "prism")
        ]
        assert max(left[:2]) <= 3 * left[2] + 1e-12


@EACH
def test_history_vmap_op_and_none_by_default(name):
    A, options = sample(name), {"steps": 5, "newton_steps": 2}
    expected = FUNCTIONS[name](A, **options)
    result, history = FUNCTIONS[name](A, **options, history=True)
    assert_close(result, expected, 1e-12)
    _, before = FUNCTIONS[name](A, steps=2, newton_steps=2, history=True)
    torch.testing.assert_close(history.coefficient[:2], before.coefficient)
    torch.testing.assert_close(history.residual[:2], before.residual[:2])
    assert_close(
        vmap(lambda A: FUNCTIONS[name](A, **options))(A[None]),
        tuple(p[None] for p in tensors(expected)),
        1e-12,
    )
    dual = OPS[name](A, **options, gradient="dual")
    assert equal(dual, expected)
    assert equal(FUNCTIONS[name](A, newton_steps=0), FUNCTIONS[name](A))


@EACH
@MODES
@pytest.mark.parametrize("dtype", [F64, torch.complex128], ids=str)
def test_gradients(name, dtype, gradient):
    # Steps enough for the result not to depend on the coefficients, which are constants to the derivative.
    A = sample(name, 3, 4.0, dtype).requires_grad_()
    for steps, newton_steps in ((7, 7), (9, 1)):
        options = {"steps": steps, "newton_steps": newton_steps, "gradient": gradient}

        def run(A, options=options):
            # Finite differences of a root are those of Hermitian matrices.
            A = (A + A.mH) / 2 if dtype.is_complex and not name.startswith("polar") else A
            return tensors(FUNCTIONS[name](A, **options))

        # torch has no forward mode within forward mode, which "dual" is.
        assert gradcheck(run, A, rtol=1e-4, check_forward_ad=gradient == "unrolled", fast_mode=True)


@EACH
def test_gradient_modes_agree_before_convergence(name):
    A = sample(name, 5, 100.0)

    def loss(A, gradient):
        results = tensors(FUNCTIONS[name](A, steps=3, newton_steps=2, gradient=gradient))
        return sum((X * torch.cos(torch.arange(25, dtype=F64)).reshape(5, 5)).sum() for X in results)

    expected = grad(loss)(A, "unrolled")
    assert expected.abs().max() > 1e-2
    assert_close(grad(loss)(A, "dual"), expected)


@pytest.mark.parametrize(("name", "gradient"), [("polar", "unrolled"), ("sqrtm_pair", "dual")])
def test_compiled_graph_and_its_gradient(name, gradient):
    """One graph, without a call that reads from the device."""
    torch._dynamo.reset()
    recorder, A = AotEagerAndRecordGraphs(), sample(name, 5)
    options = {"steps": 2, "newton_steps": 1, "gradient": gradient}

    def loss(A):
        return sum(part.square().sum() for part in tensors(FUNCTIONS[name](A, **options)))

    leaf = A.clone().requires_grad_()
    torch.compile(loss, fullgraph=True, backend=recorder)(leaf).backward()
    assert_close(leaf.grad, grad(loss)(A))
    called = {str(node.target) for graph in recorder.fw_graphs for node in graph.graph.nodes}
    assert "aten.linalg_inv_ex.default" in called


def test_export():
    pair = Module(lambda A: pc.sqrtm_pair(2 * A, steps=3, newton_steps=2, rule="prism"))
    A = torch.stack([sample("sqrtm_pair"), sample("sqrtm_pair", condition=5.0)])
    batch, n = torch.export.Dim("batch"), torch.export.Dim("n", min=2, max=50)
    program = torch.export.export(pair, (A,), dynamic_shapes={"A": {0: batch, 1: n, 2: n}})
    (node,) = [node for node in program.graph.nodes if "prism" in str(node.target)]
    assert node.kwargs["newton_steps"] == 2
    other = sample("sqrtm_pair", 5).expand(4, 5, 5)
    for run in (program.module(), program.run_decompositions().module()):
        assert_close(run(other), pair(other))
