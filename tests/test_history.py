"""What a history says: the truth about A at the end, every coefficient, and what has converged."""

import copy
import pickle
from math import comb

import pytest
import torch
from torch import Tensor

import prism_compile as pc

from .functions import FUNCTIONS, Module, sample, tensors
from .matrices import F64, gaussian, log_spaced, spd, with_singular_values

EACH = pytest.mark.parametrize("name", FUNCTIONS)
POWER = torch.linalg.matrix_power


def pascal(n: int) -> Tensor:
    return torch.tensor([[comb(i + j, i) for j in range(n)] for i in range(n)], dtype=F64)


def rms(R: Tensor) -> float:
    return (torch.linalg.matrix_norm(R) / R.shape[-1] ** 0.5).item()


def relative(E: Tensor, A: Tensor) -> float:
    return (torch.linalg.matrix_norm(E) / torch.linalg.matrix_norm(A)).item()


def measured(name: str, A: Tensor, result) -> tuple[float, float]:
    """Residual and asymmetry of a result by their definitions, in float64."""
    A, eye = A.to(F64), torch.eye(A.shape[-1], dtype=F64)
    parts = [part.to(F64) for part in tensors(result)]
    X, Z = parts[0], parts[-1]
    if name.startswith("polar"):
        H = X.mT @ A
        return rms(eye - X.mT @ X), relative(H - H.mT, H)
    if name in ("signm", "inv"):
        R = rms(eye - X @ X) if name == "signm" else max(rms(eye - A @ X), rms(eye - X @ A))
        return R, relative(A @ X - X @ A, A @ X)
    residuals = []
    if name.startswith("sqrtm"):
        residuals.append(relative(A - X @ X, A))
    if name != "sqrtm":
        power = POWER(Z, 3 if name == "inv_root" else 2)
        residuals += [rms(eye - A @ power), rms(eye - power @ A)]
    return max(residuals), max(relative(root - root.mT, root) for root in parts)


@EACH
@pytest.mark.parametrize("dtype", [F64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("steps", [1, 2, 4, 10])
def test_the_last_residual_is_that_of_what_is_returned(name, steps, dtype):
    A = sample(name, 2, 1).to(dtype)
    result, history = FUNCTIONS[name](A, steps=steps, history=True)
    shapes = [tuple(part.shape) for part in history]
    assert shapes == [(2, 1, steps + 1), (2, 1, steps), (2, 1, steps, 3), (2, 1)]
    # The history of what is not float64 is float32.
    rel, wide = (1e-9, F64) if dtype == F64 else (1e-6, torch.float32)
    assert all(part.dtype == wide for part in history)
    for k in range(2):
        expected, asymmetry = measured(name, A[k, 0], tuple(part[k, 0] for part in tensors(result)))
        assert history.residual[k, 0, -1].item() == pytest.approx(expected, rel=rel, abs=1e-14)
        assert history.asymmetry[k, 0].item() == pytest.approx(asymmetry, rel=rel, abs=1e-14)
    for part, plain in zip(tensors(result), tensors(FUNCTIONS[name](A, steps=steps))):
        torch.testing.assert_close(part, plain, rtol=0, atol=1e-13 if dtype == F64 else 0)


def test_an_inverse_that_overflows_has_not_converged():
    X, history = pc.inv((torch.eye(2) * 1e-6).half(), history=True)
    assert X.isinf().any()
    assert not history.converged(1.0)


@pytest.mark.parametrize("rule", [None, "prism", "taylor"])
@pytest.mark.parametrize("p", [3, 5, 11])
def test_a_root_that_is_not_the_principal_one_shows(p, rule):
    A = torch.diag(torch.tensor([-0.1, 0.1, 0.55, 1.0], dtype=F64))
    _, history = pc.inv_root(torch.stack([A, A.abs()]), p, rule=rule, steps=30, history=True)
    assert history.converged(1e-6).tolist() == [False, True]


def test_a_sign_on_the_wrong_side_shows():
    """S² = I, but the trace of AS is negative."""
    A = torch.tensor([[-0.18, -0.287], [0.856, -0.80]], dtype=F64)
    S, history = pc.signm(A, steps=20, history=True)
    torch.testing.assert_close(S @ S, torch.eye(2, dtype=F64))
    assert S.trace() > 0 > A.trace()
    assert history.residual[-1] > 0.1
    S, history = pc.signm(A, steps=20, newton_steps=20, history=True)
    torch.testing.assert_close(S, -torch.eye(2, dtype=F64))
    assert history.converged(1e-12)


@pytest.mark.parametrize("rank", [1, 6])
def test_the_root_of_a_semidefinite_matrix_converges(rank):
    """Its residual is that of S² against A, not of an inverse that does not exist."""
    B = gaussian(20, rank)
    _, history = pc.sqrtm(B @ B.T, history=True)
    assert history.converged(1e-9)
    _, history = pc.sqrtm(torch.zeros(3, 3), history=True)
    assert history.converged(1e-9)


@pytest.mark.parametrize("p", [3, 4])
def test_a_drifted_root_shows(p):
    """What the coupled iteration carries ends at 1e-7 or so, while the root is far off."""
    A = pascal(10).float()
    X, history = pc.inv_root(A, p, steps=20, rule="taylor", history=True)
    assert history.residual[-2] < 1e-5
    A, power, eye = A.to(F64), POWER(X.to(F64), p), torch.eye(10, dtype=F64)
    assert history.residual[-1].item() == pytest.approx(
        max(rms(eye - A @ power), rms(eye - power @ A)), rel=0.01
    )
    assert not history.converged(0.5)


def test_orthonormal_columns_that_are_not_as_polar_factor_show():
    """The Gram form of a matrix of high condition: orthonormal, but off the polar factor by ε κ²."""
    A = with_singular_values(log_spaced(32, 3e3), 96, 32).float()
    U, history = pc.polar(A, steps=7, rule="prism", form="gram", history=True, scaling="schatten")
    _, asymmetry = measured("polar", A, U)
    assert history.asymmetry.item() == pytest.approx(asymmetry, rel=0.01)
    _, direct = pc.polar(A, steps=7, rule="prism", form="direct", history=True)
    assert history.asymmetry > 10 * direct.asymmetry


@EACH
@pytest.mark.parametrize(("rule", "degree"), [("adaptive", 2), ("prism", 2), ("prism", 1), ("taylor", 2)])
def test_the_coefficients_lead_from_each_residual_to_the_next(name, rule, degree):
    """Applied to known eigenvalues: x ← x g(1 - x)ᵖ gives the residuals that the history holds."""
    p = {"inv_root": 3, "inv": 1}.get(name, 2)
    values = log_spaced(12, 20.0)
    options = {"rule": rule, "degree": degree, "steps": 5}
    _, history = FUNCTIONS[name](torch.diag(values), history=True, **options)
    assert history.coefficients.shape == (5, 3)
    assert torch.equal(history.coefficients[:, degree], history.coefficient)
    x = values if p == 3 or "sqrt" in name else values.square()
    # The scale from the first residual: rms(1 - x/c) is a quadratic in 1/c.
    mean, square = x.mean(), x.square().mean()
    root = (mean**2 - square * (1 - history.residual[0] ** 2)).clamp(min=0).sqrt()
    # Of two scales one keeps the spectrum within one.
    x = max(
        (x * (mean + sign * root) / square for sign in (-1, 1)), key=lambda x: (x.max() <= 1 + 1e-9, x.max())
    )
    for k in range(5):
        residual = (1 - x).square().mean().sqrt()
        torch.testing.assert_close(residual, history.residual[k], rtol=1e-7, atol=1e-9)
        g0, g1, g2 = history.coefficients[k]
        x = x * (g0 + g1 * (1 - x) + g2 * (1 - x) ** 2) ** p
    last = (1 - x).square().mean().sqrt()
    if name == "sqrtm":
        # S² = A x for the eigenvalues x of ZS.
        last = ((1 - x) * values).norm() / values.norm()
    torch.testing.assert_close(last, history.residual[5], rtol=1e-6, atol=1e-9)


@EACH
def test_what_has_converged(name):
    A = sample(name, 3)
    _, history = FUNCTIONS[name](A, steps=12, history=True)
    assert torch.equal(history.converged(1e-9), torch.tensor([True] * 3))
    assert history.converged(1e-9).dtype == torch.bool
    A = A.clone()
    A[1, 0, 0] = torch.nan
    _, history = FUNCTIONS[name](A, steps=12, history=True)
    assert history.converged(1e-9).tolist() == [True, False, True]
    assert history.asymmetry.isnan().tolist() == [False, True, False]
    assert not FUNCTIONS[name](A, steps=1, history=True)[1].converged(1e-9).any()
    # Zero is the square root of zero, and has no other function here.
    _, history = FUNCTIONS[name](torch.zeros(2, 4, 4), steps=3, history=True)
    assert torch.equal(history.converged(0.9), torch.tensor([name == "sqrtm"] * 2))
    _, history = FUNCTIONS[name](A[:0], steps=3, history=True)
    assert history.asymmetry.shape == history.converged(0.5).shape == (0,)
    with pytest.raises(TypeError, match="tol must be a number, got '1' of type str"):
        history.converged("1")


def test_in_one_graph_without_a_sync():
    torch._dynamo.reset()

    def run(A):
        root, history = pc.inv_sqrtm(A, steps=8, history=True)
        return torch.where(history.converged(1e-6)[..., None, None], root, torch.nan)

    A = torch.stack([spd(6, 10.0), spd(6, 1e30)])
    result = torch.compile(run, backend="eager", fullgraph=True)(A)
    assert result.isnan().all(-1).all(-1).tolist() == [False, True]


def test_copies_and_exports(tmp_path):
    A = gaussian(6, 4)
    module = Module(lambda A: pc.polar_factors(A, steps=2, rule="taylor", history=True))
    _, history = module(A)
    for again in (copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        assert isinstance(again, pc.History)
        assert all(map(torch.equal, again, history))
    torch.export.save(torch.export.export(module, (A,)), tmp_path / "program.pt2")
    factors, loaded = torch.export.load(tmp_path / "program.pt2").module()(A)
    assert (type(factors), type(loaded)) == (pc.PolarFactors, pc.History)
    assert all(map(torch.equal, loaded, history))
    assert loaded.converged(1.0)
