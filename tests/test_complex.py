"""Complex matrices: all functions, rules and gradients, against decompositions in complex128."""

import warnings
from functools import partial

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import vmap

import prism_compile as pc
import prism_compile.optim
from prism_compile._interface.damping import damped

from .functions import FUNCTIONS, OPS, tensors
from .matrices import F64, generator, log_spaced

C128, C64 = torch.complex128, torch.complex64
DTYPES = pytest.mark.parametrize("dtype", [C128, C64], ids=["complex128", "complex64"])
EACH = pytest.mark.parametrize("name", FUNCTIONS)
MODES = pytest.mark.parametrize("gradient", ["unrolled", "dual"])
HERMITIAN = ("sqrtm", "inv_sqrtm", "sqrtm_pair", "inv_root")
RULES = ("adaptive", "prism", "polar_express", "taylor")
N = 10
CONDITION = 20.0
# Enough for the slowest rule, "taylor", at the squared condition number 400, and for "polar_express", whose
# table starts anew from values that are 1 by its end.
STEPS = 14


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=C128, generator=generator(seed))


def unitary(n: int, seed: int = 0) -> torch.Tensor:
    return torch.linalg.qr(gaussian(n, n, seed=seed))[0]


def with_singular_values(values: torch.Tensor, m: int, n: int, seed: int = 0) -> torch.Tensor:
    k = values.numel()
    return (unitary(m, seed)[:, :k] * values) @ unitary(n, seed + 1)[:, :k].mH


def hermitian(values: torch.Tensor, seed: int = 0) -> torch.Tensor:
    Q = unitary(values.numel(), seed)
    A = (Q * values) @ Q.mH
    return (A + A.mH) / 2


def sample(name: str, n: int = N, seed: int = 0, m: int | None = None) -> torch.Tensor:
    """A matrix of condition 20 for a function; for polar factors `[m, n]`."""
    values = log_spaced(n, CONDITION)
    if name in HERMITIAN:
        return hermitian(values, seed)
    if name == "signm":
        # Of real eigenvalues, of either sign, and not Hermitian.
        signs = torch.where(torch.arange(n) % 3 == 0, -1.0, 1.0)
        return hermitian(values, seed) @ torch.diag(signs).to(C128)
    if not name.startswith("polar"):
        m = n
    elif m is None:
        m = n + 4
    return with_singular_values(values[: min(m, n)], m, n, seed)


def svd_polar(A: torch.Tensor) -> torch.Tensor:
    W, _, Vh = torch.linalg.svd(A.to(C128), full_matrices=False)
    return W @ Vh


def eigh_power(A: torch.Tensor, exponent: float) -> torch.Tensor:
    values, Q = torch.linalg.eigh(A.to(C128))
    return (Q * values.clamp(min=0).pow(exponent).unsqueeze(-2)) @ Q.mH


def oracle(name: str, A: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What a function is to return, by SVD, eigh and, of the matrix that is not Hermitian, eig."""
    A = A.to(C128)
    if name == "polar":
        return (svd_polar(A),)
    if name == "polar_factors":
        values, V = torch.linalg.eigh(A.mH @ A)
        return svd_polar(A), (V * values.clamp(min=0).sqrt().unsqueeze(-2)) @ V.mH
    if name == "signm":
        values, V = torch.linalg.eig(A)
        return ((V * values.real.sign().unsqueeze(-2)) @ torch.linalg.inv(V),)
    if name == "inv":
        W, values, Vh = torch.linalg.svd(A)
        return ((Vh.mH / values.unsqueeze(-2)) @ W.mH,)
    exponents = {"sqrtm": (0.5,), "inv_sqrtm": (-0.5,), "sqrtm_pair": (0.5, -0.5), "inv_root": (-1 / 3,)}
    return tuple(eigh_power(A, exponent) for exponent in exponents[name])


def tolerance(dtype: torch.dtype) -> float:
    """Of a relative error: a rounding in each step, raised by at most the condition of the function.

    That is at most 20 for all of the samples.
    """
    return STEPS * CONDITION * torch.finfo(dtype).eps


def check(name: str, result, A: torch.Tensor, tol: float) -> None:
    for part, expected in zip(tensors(result), oracle(name, A), strict=True):
        assert not part.is_conj()
        error = torch.linalg.matrix_norm(part.to(C128) - expected) / torch.linalg.matrix_norm(expected)
        assert error.max() <= tol


# Tables are for p = 2.
SERVED = [(n, r) for n in FUNCTIONS for r in RULES if r != "polar_express" or n not in ("inv", "inv_root")]


@DTYPES
@pytest.mark.parametrize(("name", "rule"), SERVED)
def test_oracle(name, dtype, rule):
    if rule == "adaptive" and name == "signm":
        A = hermitian(log_spaced(N, CONDITION) * torch.tensor([1.0, -1.0], dtype=F64).repeat(N // 2))
    else:
        A = sample(name)
    # Of a batch each matrix by itself, at scales far apart.
    A = torch.stack([A, 3 * sample(name, seed=5) if name != "signm" else 3 * A]).to(dtype)
    result = FUNCTIONS[name](A, steps=STEPS, rule=rule)
    assert all(part.dtype == dtype for part in tensors(result))
    check(name, result, A, tolerance(dtype))


@DTYPES
@pytest.mark.parametrize("form", ["direct", "gram"])
@pytest.mark.parametrize("shape", [(24, 10), (10, 24), (10, 10), (11, 10), (10, 1), (1, 10)])
def test_polar_factors_of_every_shape(dtype, form, shape):
    A = with_singular_values(log_spaced(min(shape), 5.0), *shape).to(dtype)
    U, H = pc.polar_factors(A, form=form, steps=STEPS)
    # The Gram matrix squares the condition.
    assert torch.linalg.matrix_norm(U.to(C128) - svd_polar(A)) <= 25 * tolerance(dtype)
    assert torch.equal(H, H.mH)
    assert torch.linalg.matrix_norm(U @ H - A) <= 25 * tolerance(dtype)
    assert not U.is_conj()


@EACH
@pytest.mark.parametrize("rule", ["adaptive", "prism"])
def test_a_real_matrix_as_a_complex_one(name, rule):
    """The same sketch, and so the same coefficients but for rounding."""
    A = sample(name).real
    A = (A + A.mT + 4 * torch.eye(N, dtype=F64)) if A.shape[0] == N and name != "inv" else A
    expected, real = FUNCTIONS[name](A, rule=rule, steps=6, history=True)
    result, history = FUNCTIONS[name](A.to(C128), rule=rule, steps=6, history=True)
    for part, reference in zip(tensors(result), tensors(expected)):
        torch.testing.assert_close(part, reference.to(C128), rtol=0, atol=1e-9)
    torch.testing.assert_close(history, real, rtol=1e-6, atol=1e-9)


def test_long_runs_are_planned_as_in_the_type_of_the_parts():
    """float64 resolves more steps than float32, and so does complex128."""
    values = log_spaced(N, 1e9)
    Q = torch.linalg.qr(gaussian(N, N).real)[0]
    A = Q * values @ torch.linalg.qr(gaussian(N, N, seed=1).real)[0]
    _, real = pc.polar(A, steps=16, history=True)
    _, history = pc.polar(A.to(C128), steps=16, history=True)
    torch.testing.assert_close(history.coefficient, real.coefficient, rtol=1e-6, atol=0)


@pytest.mark.parametrize("rule", RULES)
def test_a_phase_goes_through(rule):
    A, phase = sample("polar"), torch.tensor(0.6 + 0.8j, dtype=C128)
    result = pc.polar(phase * A, rule=rule, steps=5)
    torch.testing.assert_close(result, phase * pc.polar(A, rule=rule, steps=5), rtol=0, atol=1e-12)


@EACH
@DTYPES
def test_history_is_real(name, dtype):
    _, history = FUNCTIONS[name](sample(name).to(dtype)[None], history=True, steps=STEPS)
    real = {C128: F64, C64: torch.float32}[dtype]
    assert history.residual.dtype == history.coefficient.dtype == real
    assert history.residual.shape == (1, STEPS + 1)
    # ‖R‖_F/√n: 1 - σ² of σ in (0, 1], and at the end rounding, raised by the condition.
    assert 0.1 < history.residual[0, 0] <= 1
    assert history.residual[0, -1] <= CONDITION * tolerance(dtype)
    assert history.residual[0, -1] <= 1e-3


@EACH
def test_input_that_is_not_contiguous_or_conjugated_lazily(name):
    A = torch.stack([sample(name), 2 * sample(name)])
    expected = tensors(FUNCTIONS[name](A, steps=4))
    transposed, conjugate = A.mT.contiguous().mT, A.conj().resolve_conj().conj()
    assert not transposed.is_contiguous()
    assert conjugate.is_conj()
    strided = torch.stack([A, 0 * A], dim=-1)[..., 0]
    before = transposed.clone()
    for other in (transposed, conjugate, strided, A[None].expand(3, -1, -1, -1)[1]):
        for part, reference in zip(tensors(FUNCTIONS[name](other, steps=4)), expected):
            torch.testing.assert_close(part, reference, rtol=0, atol=1e-11)
    assert torch.equal(transposed, before)


def test_one_by_one():
    z = torch.tensor([[3 - 4j]], dtype=C128)
    torch.testing.assert_close(pc.polar(z, steps=STEPS), z / 5)
    torch.testing.assert_close(pc.inv(z, steps=STEPS), 1 / z)
    U, H = pc.polar_factors(z)
    torch.testing.assert_close((U, H), (z / 5, torch.tensor([[5.0]], dtype=C128)))
    four = torch.tensor([[4.0]], dtype=C128)
    torch.testing.assert_close(pc.sqrtm(four), four / 2)
    torch.testing.assert_close(pc.inv_root(four, 2), 1 / (four / 2))
    torch.testing.assert_close(pc.signm(-four), -four / 4)


@EACH
@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 0), (2, 0, 4, 4)])
def test_empty(name, shape):
    for part in tensors(FUNCTIONS[name](torch.empty(shape, dtype=C64))):
        assert part.shape == shape
        assert part.dtype == C64


def test_zero_and_rank_deficient():
    zero = torch.zeros(2, 5, 5, dtype=C64)
    for call in (pc.polar, pc.sqrtm, pc.signm):
        assert torch.equal(call(zero), zero)
    for call in (pc.inv, pc.inv_sqrtm):
        assert not call(zero).isfinite().any()
    W, V = unitary(12), unitary(9, seed=1)[:, :4]
    A = W[:, :4] * log_spaced(4, CONDITION) @ V.mH
    # On A's own row space, where U is unique; zeros that rounding perturbs may grow.
    for rule in ("prism", "taylor", "polar_express"):
        assert torch.linalg.matrix_norm(pc.polar(A, steps=STEPS, rule=rule) @ V - W[:, :4]) <= tolerance(C128)
    # "adaptive" gives up digits of the row space, but never more than 1 %.
    assert torch.linalg.matrix_norm(pc.polar(A, steps=10) @ V - W[:, :4]) <= 1e-2
    P = A @ A.mH
    # A zero eigenvalue that rounding perturbs by ε has a root of √ε.
    error = torch.linalg.matrix_norm(pc.sqrtm(P, steps=10) - eigh_power(P, 0.5))
    assert error <= 12 * torch.finfo(C128).eps ** 0.5


@EACH
def test_a_nan_stays_in_its_matrix(name):
    A = torch.stack([sample(name, seed=seed) for seed in range(3)]).to(C64)
    expected = tensors(FUNCTIONS[name](A, steps=4))
    A[1, 0, 1] = complex(0.0, float("nan"))
    for part, reference in zip(tensors(FUNCTIONS[name](A, steps=4)), expected):
        assert part[1].isnan().all()
        assert torch.equal(part[::2], reference[::2])


@EACH
@pytest.mark.parametrize("exponent", [100, -100])
def test_scales_of_1e30(name, exponent):
    """A power of two goes through exactly: nothing overflows or vanishes on the way."""
    A, scale = sample(name).to(C64), 2.0**exponent
    powers = {"polar": (0,), "polar_factors": (0, 1), "signm": (0,), "inv": (-1,), "inv_root": (-1 / 3,)}
    powers |= {"sqrtm": (0.5,), "inv_sqrtm": (-0.5,), "sqrtm_pair": (0.5, -0.5)}
    results = zip(tensors(FUNCTIONS[name](A * scale, steps=5)), tensors(FUNCTIONS[name](A, steps=5)))
    for (part, reference), power in zip(results, powers[name], strict=True):
        # Of a cube root the factor is none.
        rounding = 0 if power != -1 / 3 else 4 * torch.finfo(C64).eps
        torch.testing.assert_close(part, reference * scale**power, rtol=rounding, atol=0)


@pytest.mark.parametrize("value", [3.4e38, 1e-44])
def test_the_ends_of_the_range(value):
    """The modulus of the largest overflows, the reciprocal of the smallest is infinite."""
    A = torch.tensor([[complex(value, value), 0.0], [0.0, complex(-value, value)]], dtype=C64)
    expected = torch.tensor([[1 + 1j, 0], [0, -1 + 1j]], dtype=C64) / 2**0.5
    torch.testing.assert_close(pc.polar(A), expected)


def test_damping_is_relative_to_the_mean_eigenvalue():
    A = sample("inv_sqrtm")
    expected = A + 0.1 * A.diagonal().real.mean() * torch.eye(N, dtype=C128)
    result = pc.inv_sqrtm(A, eps=0.1, steps=STEPS)
    torch.testing.assert_close(result, eigh_power(expected, -0.5), rtol=0, atol=tolerance(C128))
    # The imaginary part that rounding leaves a trace does not count.
    shifted = A + 0.5j * torch.eye(N, dtype=C128)
    torch.testing.assert_close(damped(shifted[None], 0.1)[0], expected + (shifted - A))


@MODES
@EACH
def test_gradcheck(name, gradient):
    """In torch's convention; with enough steps for the result not to depend on the coefficients."""
    A = sample(name, 3, m=4).requires_grad_()

    def run(A):
        return tensors(FUNCTIONS[name](A, steps=13, gradient=gradient))

    # Forward mode within the dual numbers of "dual" torch does not nest; see the next test.
    assert gradcheck(run, A, rtol=1e-4, check_forward_ad=gradient == "unrolled")
    assert gradgradcheck(run, A, rtol=1e-3, atol=1e-4, fast_mode=True)


@pytest.mark.parametrize("gradient", ["unrolled", "dual"])
def test_gradcheck_of_a_wide_matrix(gradient):
    A = sample("polar", 4, m=3).requires_grad_()
    assert gradcheck(partial(pc.polar, steps=13, gradient=gradient), A, rtol=1e-4)


def loss(name: str, A: torch.Tensor, **options) -> torch.Tensor:
    """A real function of A through a result, with generic weights."""
    total = 0
    for part in tensors(FUNCTIONS[name](A, **({"steps": 5} | options))):
        angle = torch.arange(part.numel(), dtype=F64).reshape(part.shape)
        # Conjugate weights, so that the gradient that comes back is a lazy conjugate.
        total = total + (part.conj() * torch.polar(1 + angle.sin() ** 2, angle)).real.sum()
    return total


@EACH
def test_modes_agree_forward_and_backward(name):
    A = sample(name, 5)
    expected = torch.func.grad(partial(loss, name))(A)
    assert expected.abs().max() > 1e-3
    result = torch.func.grad(partial(loss, name, gradient="dual"))(A)
    torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-10)
    direction = gaussian(*A.shape, seed=5)
    for gradient in ("unrolled", "dual"):
        _, pushed = torch.func.jvp(partial(loss, name, gradient=gradient), (A,), (direction,))
        torch.testing.assert_close(pushed, (expected.conj() * direction).real.sum(), rtol=1e-9, atol=1e-9)


@EACH
def test_ops_and_vmap(name):
    A = torch.stack([sample(name), 3 * sample(name)])
    expected = tensors(FUNCTIONS[name](A, steps=4))
    assert all(map(torch.equal, tensors(OPS[name](A, steps=4)), expected))
    for call in (FUNCTIONS[name], OPS[name]):
        for in_dim in (0, 2):
            mapped = vmap(partial(call, steps=4), in_dims=in_dim)(A.movedim(0, in_dim))
            for part, reference in zip(tensors(mapped), expected):
                torch.testing.assert_close(part, reference, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["polar", "inv_root"])
def test_opcheck(name):
    arguments = (sample(name, 3).requires_grad_(), *((3,) if name == "inv_root" else ()))
    # The schema check of torch 2.13 takes a lazy conjugate for a mutation, even in `A.mH + 1`.
    checks = ["test_schema"] if name == "inv_root" else []
    checks += ["test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"]
    op = getattr(torch.ops.prism, name)
    results = torch.library.opcheck(op, arguments, {"steps": 2}, test_utils=checks)
    assert set(results.values()) == {"SUCCESS"}


class Calls(torch.nn.Module):
    def __init__(self, name: str, rule: str):
        super().__init__()
        self.name, self.rule = name, rule

    def forward(self, A):
        return tensors(FUNCTIONS[self.name](2 * A, steps=2, rule=self.rule))


@pytest.mark.parametrize(("name", "strict"), [*((name, False) for name in FUNCTIONS), ("polar", True)])
def test_export(name, strict):
    rule = "adaptive" if name.startswith("polar") else "prism"
    module, A = Calls(name, rule), torch.stack([sample(name), 3 * sample(name)])
    batch = {"A": {0: torch.export.Dim("batch")}}
    program = torch.export.export(module, (A,), strict=strict, dynamic_shapes=batch)
    assert f"torch.ops.prism.{name}.default" in program.graph_module.code
    other = torch.cat([A, A[:1]])
    for run in (program, program.run_decompositions()):
        for part, reference in zip(run.module()(other), module(other), strict=True):
            torch.testing.assert_close(part, reference, rtol=0, atol=1e-11)


def test_aotinductor_is_right_or_torchs_to_refuse(tmp_path):
    """torch 2.13 calls what it has no kernel for with more arguments than it has recorded; 2.15 does not."""
    A, module = sample("sqrtm").to(C64), Calls("sqrtm", "taylor")
    program = torch.export.export(module, (A,))
    path = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "sqrtm.pt2"))
    try:
        (result,) = tensors(torch._inductor.aoti_load_package(path)(A))
    except RuntimeError as error:
        if "Mismatch between ints consumed and num_ints" not in str(error):
            raise
    else:
        (expected,) = tensors(module(A))
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "gradient"), [("polar_factors", "unrolled"), ("inv_root", "unrolled"), ("inv", "dual")]
)
def test_compiled_without_inductor(name, gradient):
    torch._dynamo.reset()
    A = sample(name, 4)
    expected = torch.func.grad(partial(loss, name, gradient=gradient, steps=3))(A)
    leaf = A.clone().requires_grad_()
    run = torch.compile(partial(loss, name, gradient=gradient, steps=3), fullgraph=True, backend="aot_eager")
    run(leaf).backward()
    torch.testing.assert_close(leaf.grad, expected, rtol=1e-9, atol=1e-9)


def test_compiled():
    """Inductor leaves the complex operators to torch, and says so."""
    torch._dynamo.reset()

    def run(A):
        U = pc.polar(A, steps=2)
        return U, pc.sqrtm(A.mH @ A, steps=1, rule="taylor", gradient="dual")

    A = torch.stack([sample("polar"), 3 * sample("polar")]).to(C64)
    leaves = [A.clone().requires_grad_() for _ in range(2)]
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Torchinductor does not support code generation for complex"
        )
        results = [call(leaf) for call, leaf in zip((run, torch.compile(run, fullgraph=True)), leaves)]
        for U, S in results:
            (U * A).real.sum().add(S.imag.square().sum()).backward()
    for part, reference in zip(results[1], results[0]):
        assert not part.is_conj()
        torch.testing.assert_close(part, reference, rtol=0, atol=1e-5)
    torch.testing.assert_close(leaves[1].grad, leaves[0].grad, rtol=1e-4, atol=1e-4)


@EACH
def test_half_complex_is_refused_by_name(name):
    # As an empty tensor: torch warns of most that it does with this type.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        A = torch.empty(3, 3, dtype=torch.complex32)
    for call in (FUNCTIONS[name], OPS[name]):
        with pytest.raises(TypeError, match=r"complex128, complex64\), got torch.complex32"):
            call(A)
