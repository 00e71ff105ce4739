"""What the properties are asked of: functions with their oracles, ways to run them, dtypes and spectra."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import prism_compile as pc

from ..functions import tensors
from ..matrices import (
    C128,
    F64,
    alternating,
    gaussian,
    log_spaced,
    relative_errors,
    widest,
    with_eigenvalues,
    with_singular_values,
)

N = 16


class Function(NamedTuple):
    """A function, what it is asked of, and what it is to return.

    kind: "rectangular", "square", "definite", or "signed": Hermitian with eigenvalues of either sign.
    powers: a factor of A goes into each result with this power.
    of_values: for each result the function of the singular values, or eigenvalues, and the bases to its
        left and right.
    sensitivity: for each result, how much it enlarges a relative change of A of condition κ: the condition
        number of the function in Frobenius norms (Higham, Functions of Matrices, ch. 3, 6 and 8), rounded up
        to a power of κ.
    """

    call: Callable[..., Any]
    kind: str
    powers: tuple[float, ...]
    of_values: tuple[tuple[Callable[[Tensor], Tensor], str], ...]
    sensitivity: tuple[float, ...]
    p: int = 2


def _power(exponent: float) -> tuple[Callable[[Tensor], Tensor], str]:
    return lambda values: values**exponent, "VV"


_UNITARY, _RIGHT, _LEFT = (torch.ones_like, "WV"), (lambda s: s, "VV"), (lambda s: s, "WW")


def _inverse_root(p: int) -> Function:
    call = partial(pc.inv_root, p=p)
    return Function(call, "definite", (-1 / p,), (_power(-1 / p),), (1,), p)


FUNCTIONS = {
    "polar": Function(pc.polar, "rectangular", (0,), (_UNITARY,), (1,)),
    "polar_factors": Function(pc.polar_factors, "rectangular", (0, 1), (_UNITARY, _RIGHT), (1, 0)),
    "left factors": Function(
        partial(pc.polar_factors, side="left"), "rectangular", (0, 1), (_UNITARY, _LEFT), (1, 0)
    ),
    "signm": Function(pc.signm, "signed", (0,), ((torch.sign, "VV"),), (1,)),
    "sqrtm": Function(pc.sqrtm, "definite", (0.5,), (_power(0.5),), (0.5,)),
    "inv_sqrtm": Function(pc.inv_sqrtm, "definite", (-0.5,), (_power(-0.5),), (1,)),
    "sqrtm_pair": Function(pc.sqrtm_pair, "definite", (0.5, -0.5), (_power(0.5), _power(-0.5)), (0.5, 1)),
    **{f"inv_root {p}": _inverse_root(p) for p in (1, 2, 3, 4, 6, 7, 8, 12)},
    "inv": Function(pc.inv, "square", (-1,), ((torch.reciprocal, "VW"),), (1,), 1),
}

# How the steps are made.
WAYS: dict[str, dict[str, Any]] = {
    "adaptive": {"rule": "adaptive"},
    "adaptive, Frobenius": {"rule": "adaptive", "scaling": "frobenius"},
    "prism": {"rule": "prism"},
    "prism, cubic": {"rule": "prism", "degree": 1},
    "taylor": {"rule": "taylor"},
    "polar_express": {"rule": "polar_express"},
    "Gram": {"rule": "prism", "form": "gram"},
    "Newton": {"newton_steps": 10, "steps": 10},
    "Newton first": {"newton_steps": 2},
}
# Enough for each of the spectra, by the slowest way.
STEPS = 22


def serves(name: str, way: str) -> bool:
    function = FUNCTIONS[name]
    if way == "polar_express":
        return function.p == 2 and not name.startswith("inv_root")
    if way == "Gram":
        return function.kind == "rectangular"
    return not way.startswith("Newton") or (function.p == 2 and not name.startswith("inv_root"))


CASES = [(name, way) for name in FUNCTIONS for way in WAYS if serves(name, way)]
# The steps of every order are the same code: two of them where a property is not one of accuracy.
FEW = [(name, way) for name, way in CASES if name[9:] in ("", "1", "4") or not name.startswith("inv_root")]
EACH = pytest.mark.parametrize(("name", "way"), FEW)

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex128, torch.complex64]
IN_DTYPES = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
HALF = (torch.bfloat16, torch.float16)


def run(name: str, way: str, A: Tensor, **options) -> Any:
    return FUNCTIONS[name].call(A, **({"steps": STEPS} | WAYS[way] | options))


def run_short(name: str, way: str, A: Tensor, **options) -> tuple[Tensor, ...]:
    """Four steps, for what does not take convergence."""
    fewer = {"newton_steps": 4} if way == "Newton" else {}
    return tensors(run(name, way, A, **({"steps": 4} | fewer | options)))


def is_native(name: str, way: str, dtype: torch.dtype) -> bool:
    """Whether the steps are computed in this dtype: half precision is not, but in those of polar factors."""
    return dtype not in HALF or (FUNCTIONS[name].kind == "rectangular" and not way.startswith("Newton"))


# A spectrum is for dtypes of an epsilon below 1/50 of its condition number's reciprocal.
SPECTRA: dict[str, Tensor] = {
    "Gaussian": torch.linalg.svdvals(gaussian(N, N)),
    "tall Gaussian": torch.linalg.svdvals(gaussian(6 * N, N, seed=1)),
    "condition 1e3": log_spaced(N, 1e3),
    "clusters": torch.where(torch.arange(N) < N // 2, 1.0, 0.01) * (1 + 1e-6 * gaussian(N, seed=2)),
    "repeated": torch.tensor([3.0] * 6 + [1.0] * 6 + [0.9] * 4, dtype=F64),
    "one value": torch.full((N,), 0.7, dtype=F64),
    "outlier": torch.where(torch.arange(N) < N - 1, 1.0, 1e-3).to(F64),
    "spike": torch.where(torch.arange(N) < 1, 1.0, 1e-3).to(F64),
}


def condition(values: Tensor) -> float:
    return (values.abs().max() / values.abs().min()).item()


def spectra_for(dtype: torch.dtype) -> list[str]:
    return [name for name, values in SPECTRA.items() if condition(values) * torch.finfo(dtype).eps < 0.05]


def matrix(kind: str, values: Tensor, m: int, n: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """A matrix of a kind with these singular values, for "signed" the absolute values of its eigenvalues."""
    wide = widest(dtype)
    if kind in ("rectangular", "square"):
        return with_singular_values(values, m, n, seed, wide).to(dtype)
    return with_eigenvalues(values * (alternating(n) if kind == "signed" else 1), seed, wide).to(dtype)


def shapes(name: str, way: str) -> list[tuple[int, int]]:
    """Square, tall and nearly square but wide, where they are served."""
    square = FUNCTIONS[name].kind != "rectangular" or way.startswith("Newton")
    return [(N, N)] if square else [(N, N), (3 * N, N), (N, N + 1)]


@cache
def made(kind: str, m: int, n: int, dtype: torch.dtype) -> Tensor:
    """A batch, a matrix for each spectrum of the dtype. Not to be written to."""
    return torch.stack(
        [matrix(kind, SPECTRA[s], m, n, dtype, seed) for seed, s in enumerate(spectra_for(dtype))]
    )


def sample(name: str, *batch: int, dtype: torch.dtype = F64, way: str = "") -> Tensor:
    """Matrices of condition 10, `[*batch, m, N]`: square, or tall where that is served."""
    kind = FUNCTIONS[name].kind
    m = 2 * N if kind == "rectangular" and not way.startswith("Newton") else N
    count = int(torch.tensor(batch).prod()) if batch else 1
    wide = [(1 + k % 3) * matrix(kind, log_spaced(N, 10.0), m, N, widest(dtype), k) for k in range(count)]
    return (
        torch.stack(wide).reshape(*batch, m, N).to(dtype) if wide else torch.empty(*batch, m, N, dtype=dtype)
    )


def decomposed(kind: str, A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """W, values, V of A = W diag(values) Vᴴ in 64 bits; of a Hermitian A with V = W."""
    A = A.to(C128 if A.is_complex() else F64)
    if kind in ("rectangular", "square"):
        W, values, Vh = torch.linalg.svd(A, full_matrices=False)
        return W, values, Vh.mH
    values, V = torch.linalg.eigh(A)
    return V, values, V


def oracle(name: str, A: Tensor) -> tuple[Tensor, ...]:
    """The exact results, one for each that the function returns."""
    function = FUNCTIONS[name]
    W, values, V = decomposed(function.kind, A)
    bases = {"W": W, "V": V}
    return tuple(
        (bases[left] * f(values).unsqueeze(-2)) @ bases[right].mH for f, (left, right) in function.of_values
    )


# What a run's roundings amount to, in units of the machine epsilon and of the function's condition number.
# Each step rounds products of n terms: √n where the errors are random, and those of the last steps stay. In
# half precision the terms are summed in float32, and the entries rounded once.
ROUNDINGS = 10 * N**0.5
HALF_ROUNDINGS = 2


def tolerances(name: str, way: str, A: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Of relative Frobenius errors of a run in this dtype, for each result one of each matrix of a batch."""
    function, native = FUNCTIONS[name], is_native(name, way, dtype)
    _, values, _ = decomposed(function.kind, A)
    kappa = values.abs().amax(-1) / values.abs().amin(-1)
    unit = torch.finfo(dtype if native else torch.float32).eps
    unit *= HALF_ROUNDINGS if native and dtype in HALF else ROUNDINGS
    # What is computed in float32 is rounded once more.
    final = 0 if native else torch.finfo(dtype).eps / 2
    # The Gram matrix squares the condition number.
    more = 1 if way == "Gram" else 0
    return [unit * kappa ** (power + more) + final for power in function.sensitivity]


def check(name: str, way: str, given: Tensor, results: Any, scale: float = 1.0) -> None:
    """That results are the exact ones of what was given: `scale` times a matrix of moderate entries."""
    A = given.cpu().to(widest(given.dtype)) / scale
    expected = zip(
        oracle(name, A), tolerances(name, way, A, given.dtype), FUNCTIONS[name].powers, strict=True
    )
    for part, (exact, tolerance, power) in zip(tensors(results), expected, strict=True):
        assert (part.dtype, part.device) == (given.dtype, given.device)
        assert part.shape == exact.shape
        assert not part.is_conj()
        ratio = relative_errors(part.cpu().to(exact.dtype) / scale**power, exact) / tolerance
        assert (ratio <= 1).all(), f"{ratio.max():.3g} times the tolerance, matrix {int(ratio.argmax())}"
