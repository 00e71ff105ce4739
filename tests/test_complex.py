"""Complex matrices: as real ones are, their gradients, and in graphs. Accuracy: `properties`."""

import warnings
from functools import partial

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import vmap

import prism_compile as pc
import prism_compile.optim

from .functions import FUNCTIONS, OPS, tensors
from .matrices import (
    C128,
    F64,
    alternating,
    gaussian,
    log_spaced,
    with_eigenvalues,
    with_singular_values,
)

C64 = torch.complex64
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


def sample(name: str, n: int = N, seed: int = 0, m: int | None = None) -> torch.Tensor:
    """A matrix of condition 20 for a function; for polar factors `[m, n]`."""
    values = log_spaced(n, CONDITION)
    if name in HERMITIAN:
        return with_eigenvalues(values, seed, C128)
    if name == "signm":
        # Of real eigenvalues, of either sign, and not Hermitian.
        return with_eigenvalues(values, seed, C128) @ torch.diag(alternating(n)).to(C128)
    if not name.startswith("polar"):
        m = n
    elif m is None:
        m = n + 4
    return with_singular_values(values[: min(m, n)], m, n, seed, C128)


def tolerance(dtype: torch.dtype) -> float:
    """Of a relative error: a rounding in each step, raised by at most the condition of the function.

    That is at most 20 for all of the samples.
    """
    return STEPS * CONDITION * torch.finfo(dtype).eps


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
    A = with_singular_values(values, N, N)
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


@MODES
@EACH
def test_gradcheck(name, gradient):
    """In torch's convention; with enough steps for the result not to depend on the coefficients."""
    A = sample(name, 3, m=4).requires_grad_()

    def run(A, **options):
        return tensors(FUNCTIONS[name](A, steps=13, gradient=gradient, **options))

    # The ripple that a table leaves is small, but not its curvature; see `test_grad.py`.
    fitted = partial(run, rule="prism")
    # Forward mode within the dual numbers of "dual" torch does not nest; see the next test.
    assert gradcheck(fitted, A, rtol=1e-4, check_forward_ad=gradient == "unrolled")
    assert gradgradcheck(fitted, A, rtol=1e-3, atol=1e-4, fast_mode=True)


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
    direction = gaussian(*A.shape, seed=5, dtype=C128)
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
