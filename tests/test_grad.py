"""Derivatives of functions and ops, in both gradient modes, against decompositions and finite differences."""

from functools import partial

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import prism_compile as pc

from .functions import CALLS, FUNCTIONS, OPS, sample, tensors
from .matrices import (
    C128,
    F64,
    gaussian,
    log_spaced,
    orthogonal,
    relative_error,
    spd,
)

MODES = pytest.mark.parametrize("gradient", ["unrolled", "dual"])
STEPS = 6
HERMITIAN = ("sqrtm", "inv_sqrtm", "sqrtm_pair", "inv_root")


def cotangent(part: torch.Tensor) -> torch.Tensor:
    """Generic weights; drawing random ones is not allowed under vmap."""
    angle = torch.arange(part.numel(), dtype=part.real.dtype).reshape(part.shape)
    # Of a complex part conjugate, so that the gradient that comes back is a lazy conjugate.
    return torch.polar(1 + angle.sin() ** 2, angle).conj() if part.is_complex() else torch.cos(angle)


def scalar(name: str, gradient: str, **options):
    """A real scalar function of the matrix with a generic cotangent."""

    def loss(A):
        parts = tensors(CALLS[name](A, gradient=gradient, **({"steps": STEPS} | options)))
        return sum((cotangent(part) * part).sum().real for part in parts)

    return loss


def matrix(name: str, n: int = 4, dtype: torch.dtype = F64) -> torch.Tensor:
    return sample(name.removeprefix("op "), n=n, dtype=dtype)


# Each function, and what takes other code: a wide matrix, the other factor, damping.
CHECKED = {name: {} for name in FUNCTIONS}
CHECKED |= {"polar wide": {}, "polar_factors left": {"side": "left"}, "inv_sqrtm damped": {"eps": 0.1}}


@MODES
@pytest.mark.parametrize("dtype", [F64, C128], ids=str)
@pytest.mark.parametrize("case", CHECKED)
def test_gradcheck(case, dtype, gradient):
    """In torch's convention; with enough steps for the result not to depend on the coefficients."""
    name, own = case.split()[0], CHECKED[case]
    A = matrix(name, 3, dtype)[:4]
    A = (A.mT if case == "polar wide" else A).clone().requires_grad_()

    def run(A, **options):
        # Finite differences move eigenvalues off the real line, where tables of so many steps diverge.
        A = (A + A.mH) / 2 if name in HERMITIAN else A
        return tensors(FUNCTIONS[name](A, steps=13, gradient=gradient, **own, **options))

    # Forward mode within the dual numbers of "dual" torch does not nest; see the next tests.
    assert gradcheck(run, A, rtol=1e-4, check_forward_ad=gradient == "unrolled")
    # The ripple that a table leaves is small, and its curvature is not: 1e-4 here, and 4 after 20 steps.
    fitted = partial(run, rule="prism")
    assert gradgradcheck(fitted, A, rtol=1e-3, atol=1e-4, fast_mode=True)


# Of the polar factor at conditions to 100. A table's steps stretch the interval, by ten each, before they lay
# it on one: what is rounded and what ripple is left grow by that in the derivative. A fit has neither: 1e-15
# and 1e-6. Shorter runs have no derivative to speak of: in seven steps it is off by 7, that of a fit 2e-11.
DERIVATIVES = [
    *((F64, steps, error) for steps, error in ((8, 1e-13), (10, 1e-12), (14, 4e-11))),
    *((torch.float32, steps, error) for steps, error in ((8, 6e-5), (10, 5e-4), (12, 3e-3))),
]


@pytest.mark.parametrize(("dtype", "steps", "measured"), DERIVATIVES, ids=str)
def test_derivatives_of_tables_are_as_near_as_was_measured(dtype, steps, measured):
    for condition in (3.0, 10.0, 100.0):
        W, values, V = orthogonal(12), log_spaced(12, condition), orthogonal(12, 1)
        D = gaussian(12, 12, seed=50)
        # d(W Vᵀ) = W ((C - Cᵀ)/(σᵢ + σⱼ)) Vᵀ with C = Wᵀ D V.
        C = W.T @ D @ V
        exact = W @ ((C - C.T) / (values + values[:, None])) @ V.T
        for rule, bar in ((None, 3 * measured), ("prism", 100 * torch.finfo(dtype).eps)):
            run = partial(pc.polar, steps=steps, rule=rule)
            A = ((W * values) @ V.T).to(dtype)
            assert relative_error(jvp(run, (A,), (D.to(dtype),))[1], exact) < bar


@pytest.mark.parametrize("name", FUNCTIONS)
def test_modes_agree(name):
    for dtype, options in ((F64, {}), (F64, {"rule": "taylor"}), (C128, {})):
        A = matrix(name, dtype=dtype)
        unrolled, dual = (scalar(name, gradient, **options) for gradient in ("unrolled", "dual"))
        expected = grad(unrolled)(A)
        torch.testing.assert_close(grad(dual)(A), expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(vjp(dual, A)[1](torch.tensor(1.0, dtype=F64))[0], expected)
        batch = torch.stack([A, 2 * A])
        torch.testing.assert_close(vmap(grad(dual))(batch)[0], expected)
        leaf = A.clone().requires_grad_()
        dual(leaf).backward()
        torch.testing.assert_close(leaf.grad, expected)
        direction = gaussian(*A.shape, seed=5, dtype=dtype)
        for loss in (unrolled, dual):
            _, pushed = jvp(loss, (A,), (direction,))
            torch.testing.assert_close(pushed, (expected.conj() * direction).sum().real, rtol=1e-9, atol=1e-9)
    A = matrix(name)
    hessians = (hessian(scalar(name, gradient))(A) for gradient in ("unrolled", "dual"))
    torch.testing.assert_close(*hessians, rtol=1e-8, atol=1e-8)


@MODES
def test_history_carries_no_gradient_and_does_not_disturb(gradient):
    A = spd(5, 10.0).requires_grad_()
    result, history = pc.sqrtm(A, history=True, gradient=gradient, steps=STEPS)
    assert not history.residual.requires_grad
    assert not history.coefficient.requires_grad
    (with_history,) = torch.autograd.grad(result.sum(), A)
    (without,) = torch.autograd.grad(pc.sqrtm(A, gradient=gradient, steps=STEPS).sum(), A)
    torch.testing.assert_close(with_history, without)


@MODES
@pytest.mark.parametrize("name", FUNCTIONS)
def test_finite_at_the_identity_where_eighs_is_not(name, gradient):
    """d(A^s) at c I is s c^(s-1) times the direction, that of the polar factor its skew part over c."""
    powers = {"sqrtm": (0.5,), "inv_sqrtm": (-0.5,), "sqrtm_pair": (0.5, -0.5), "inv_root": (-1 / 3,)}
    powers |= {"inv": (-1,), "signm": (0,)}
    eye = torch.eye(6, dtype=F64)
    G = cotangent(eye)
    for c in (1.0, 3.0):
        if name.startswith("polar"):
            # H = UᵀA takes the symmetric part.
            symmetric = (G + G.T) / 2 if name == "polar_factors" else 0
            expected = (G - G.T) / 2 / c + symmetric
        else:
            expected = sum(s * c ** (s - 1) * G for s in powers[name])
        derivative = grad(scalar(name, gradient, steps=12))(c * eye)
        torch.testing.assert_close(derivative, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("gradient", "compiled"), [("unrolled", False), ("dual", False), ("dual", True)])
def test_dual_mode_keeps_the_input_and_the_fitted_numbers_only(gradient, compiled):
    torch._dynamo.reset()
    A = spd(40, 100.0).requires_grad_()
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    run = partial(pc.inv_sqrtm, gradient=gradient, steps=4)
    run = torch.compile(run, fullgraph=True, backend="aot_eager") if compiled else run
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(A)
    matrices = sum(kept.values()) / (40 * 40 * 8)
    # The graph's has a scaled input and its own.
    assert matrices < (3.5 if compiled else 1.5) if gradient == "dual" else matrices > 12


# One of each kind; "dual" of one whose backward pass takes adjoints, and of one whose does not.
@pytest.mark.parametrize(
    ("name", "gradient"),
    [
        *((name, "unrolled") for name in ("polar_factors", "sqrtm_pair", "inv_root", "inv")),
        ("polar", "dual"),
        ("sqrtm_pair", "dual"),
    ],
)
def test_compiled_gradients_equal_eager_ones_at_any_size(name, gradient):
    torch._dynamo.reset()
    run = scalar(name, gradient, steps=2)
    compiled = torch.compile(run, fullgraph=True, dynamic=True, backend="aot_eager")
    # Of equal forms: at most half as tall again as wide.
    for n in (8, 10):
        leaf = matrix(name, n).requires_grad_()
        compiled(leaf).backward()
        torch.testing.assert_close(leaf.grad, grad(run)(leaf.detach()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", OPS)
def test_ops_have_the_functions_derivatives(name):
    A, run = matrix(name), scalar(f"op {name}", "unrolled")
    expected = grad(scalar(name, "unrolled"))(A)
    torch.testing.assert_close(jacrev(run)(A), expected)
    torch.testing.assert_close(jacfwd(run)(A), expected, rtol=1e-9, atol=1e-9)
    dual = scalar(f"op {name}", "dual")
    for transform in (grad, jacfwd, hessian):
        with pytest.raises(RuntimeError, match=f"call prism_compile.{name}, or gradient='unrolled'"):
            transform(dual)(A)
    # Plain autograd serves it.
    leaf = A.clone().requires_grad_()
    dual(leaf).backward()
    torch.testing.assert_close(leaf.grad, expected)


def test_autocast_during_a_dual_backward_changes_nothing():
    A = spd(16, 10.0).float().requires_grad_()
    (expected,) = torch.autograd.grad(pc.inv_sqrtm(A, gradient="dual").sum(), A)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (result,) = torch.autograd.grad(pc.inv_sqrtm(A, gradient="dual").sum(), A)
    assert torch.equal(result, expected)
