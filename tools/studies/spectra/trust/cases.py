"""The functions that are tried, on which spectra, and what is exact for them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import numpy
import torch
from numpy import ndarray
from torch import Tensor

import prism_compile

from ...common.matrices import log_spaced, with_eigenvalues, with_singular_values

# On the diagonal of a kernel matrix, which is singular to working precision without it.
RIDGES = {torch.float64: 1e-10, torch.float32: 1e-5}


class Spectrum(NamedTuple):
    """Values `[n]`, the largest 1, of which `rank` are not zero; or a kernel matrix as it is."""

    values: ndarray
    rank: int
    kernel: ndarray | None = None


def one_tiny(n: int, tiny: float) -> ndarray:
    return numpy.append(numpy.ones(n - 1), tiny)


def rbf(n: int, length: float) -> ndarray:
    """Of n evenly spaced points in [0, 1]."""
    points = numpy.linspace(0, 1, n)
    return numpy.exp(-0.5 * ((points[:, None] - points) / length) ** 2)


def hilbert(n: int) -> ndarray:
    return 1 / (1.0 + numpy.add.outer(numpy.arange(n), numpy.arange(n)))


@cache
def spectra(n: int) -> dict[str, Spectrum]:
    """All 40 by name."""
    random = numpy.random.default_rng(0)

    def gaussian(aspect: int) -> ndarray:
        return numpy.linalg.svd(random.standard_normal((aspect * n, n)), compute_uv=False)

    bulk, ones, ranks = gaussian(1) / (2 * n**0.5), numpy.ones(n), (1, n // 8, n // 8, n // 2, n - 2)
    values = {
        **{f"log-spaced to 1e-{d}": log_spaced(n, 10.0**d) for d in (1, 2, 3, 4, 5)},
        **{f"Gaussian {aspect}:1": gaussian(aspect) for aspect in (1, 2, 4)},
        **{"flat": ones, "uniform": random.random(n)},
        "Student-t 1.5": numpy.linalg.svd(random.standard_t(1.5, (n, n)), compute_uv=False),
        **{f"lognormal {width}": random.lognormal(0, width, n) for width in (0.8, 2.2)},
        "Pareto 0.7": random.random(n) ** (-1 / 0.7),
        "exponential": numpy.exp(-7 * numpy.linspace(0, 1, n)),
        "1 × 100 on flat": numpy.append(ones[1:], 100.0),
        "3 × 30 on Gaussian": numpy.append(bulk[3:], (30.0,) * 3),
        "8 × 10 on Gaussian": numpy.append(bulk[8:], (10.0,) * 8),
        **{f"ones and {tiny:g}": one_tiny(n, tiny) for tiny in (1e-2, 1e-3, 1e-4, 1e-5)},
        **{
            f"half {tiny:g}": numpy.repeat((1.0, tiny), (n - n // 2, n // 2))
            for tiny in (1e-1, 1e-2, 1e-3, 1e-4)
        },
        **{
            f"rank {rank} to {condition}": numpy.append(log_spaced(rank, condition), numpy.zeros(n - rank))
            for rank, condition in zip(ranks, (1, 1, 30, 30, 30))
        },
        **{f"k^-{power}": numpy.arange(1.0, n + 1) ** -power for power in (2, 3, 4, 5, 6)},
    }
    ordered = {name: numpy.sort(own / own.max())[::-1].copy() for name, own in values.items()}
    kernels = {"RBF 0.1": rbf(n, 0.1), "RBF 0.5": rbf(n, 0.5), "Hilbert": hilbert(n)}
    # Of a few rows the Hilbert matrix is not singular yet: as it is used to try solvers.
    kernels["Hilbert of 8"] = numpy.kron(numpy.eye(n // 8), hilbert(8))
    return {name: Spectrum(own, int((own > 0).sum())) for name, own in ordered.items()} | {
        name: Spectrum(numpy.empty(0), len(kernel), kernel) for name, kernel in kernels.items()
    }


def matrix(spectrum: Spectrum, dtype: torch.dtype, kind: str) -> Tensor:
    """`[n, n]` with these singular values, or eigenvalues, for "signed" every second one negative."""
    if spectrum.kernel is not None:
        A = torch.from_numpy(spectrum.kernel)
        return (A + RIDGES[dtype] * torch.eye(len(A), dtype=A.dtype)).to(dtype)
    if kind == "general":
        return with_singular_values(spectrum.values).to(dtype)
    signs = numpy.where(numpy.arange(len(spectrum.values)) % 2, -1 if kind == "signed" else 1, 1)
    return with_eigenvalues(spectrum.values * signs).to(dtype)


RIVALS = ("prism", "polar_express", "taylor")


@dataclass(frozen=True)
class Function:
    """One of the library's.

    kind: what it takes: "general", "signed" or "definite". of_values: what it makes of the singular values,
    or eigenvalues. singular: whether it is defined for a singular A. p: its order.
    """

    call: Callable[..., Tensor]
    kind: str
    of_values: Callable[[Tensor], Tensor]
    singular: bool = False
    p: int = 2

    def rivals(self) -> list[str]:
        """The rules that serve it and that its default is held to."""
        return [rule for rule in RIVALS if self.p == 2 or rule != "polar_express"]


def _power(exponent: float) -> Callable[[Tensor], Tensor]:
    return lambda values: values**exponent


def _root(p: int) -> Function:
    return Function(partial(prism_compile.inv_root, p=p), "definite", _power(-1 / p), p=p)


FUNCTIONS = {
    "polar": Function(prism_compile.polar, "general", torch.ones_like, singular=True),
    "signm": Function(prism_compile.signm, "signed", torch.sign),
    "sqrtm": Function(prism_compile.sqrtm, "definite", _power(0.5), singular=True),
    "inv_sqrtm": Function(prism_compile.inv_sqrtm, "definite", _power(-0.5)),
    "inv_root 3": _root(3),
    "inv_root 4": _root(4),
    "inv": Function(prism_compile.inv, "general", torch.reciprocal, p=1),
}


class Case(NamedTuple):
    """A matrix in a dtype, the exact result in float64 and what of a result is looked at.

    condition: the function's in Frobenius norms, ‖dF‖/‖F‖ over ‖dA‖/‖A‖ at the worst. rows: the projector
    onto A's own row space, None where that is everything.
    """

    A: Tensor
    exact: Tensor
    condition: float
    rows: Tensor | None

    def error(self, result: Tensor) -> float:
        """Relative, in the Frobenius norm; ∞ for what is not finite."""
        gap = result.double() - self.exact
        if not gap.isfinite().all():
            return float("inf")
        gap = gap if self.rows is None else gap @ self.rows
        return (gap.norm() / self.exact.norm()).item()


def _polar(A: Tensor, rank: int) -> tuple[Tensor, float, Tensor | None]:
    W, values, Vh = torch.linalg.svd(A, full_matrices=False)
    exact = W[:, :rank] @ Vh[:rank]
    # Of real square matrices: 2/(σ_n + σ_{n-1}); of others, and of a part of the values, 1/σ.
    whole = rank == A.shape[0] == A.shape[1]
    least = (values[-1] + values[-2]) / 2 if whole else values[rank - 1]
    condition = (values.norm() / (least * rank**0.5)).item()
    return exact, condition, None if rank == A.shape[1] else Vh[:rank].mT @ Vh[:rank]


def _divided(f: Tensor, values: Tensor) -> Tensor:
    """The largest (f(a) - f(b))/(a - b) over all pairs of the values."""
    gaps = values[:, None] - values
    apart = gaps.abs() > 1e-6 * torch.maximum(values[:, None].abs(), values.abs())
    return ((f[:, None] - f) / gaps.where(apart, 1.0)).where(apart, 0.0).abs().max()


def _by_eigenvalues(function: Function, A: Tensor, rank: int, unit: float):
    values, Q = torch.linalg.eigh(A)
    # What rounding leaves of zero eigenvalues is zero.
    kept = values.where(values.abs() >= values.abs().sort().values[-rank], 0.0)
    f = function.of_values(kept)
    # A zero eigenvalue is known to one rounding error of the largest.
    floor = torch.maximum(values.abs(), unit * values.abs().max()) * values.sign()
    near = torch.cat([floor, floor * (1 + 1e-4)])
    condition = _divided(function.of_values(near), near) * values.norm() / f.norm()
    return (Q * f) @ Q.mT, condition.item(), None


def _inverse(A: Tensor) -> tuple[Tensor, float, None]:
    W, values, Vh = torch.linalg.svd(A)
    condition = values.norm() / (values[-1] ** 2 * values.reciprocal().norm())
    return (Vh.mT / values) @ W.mT, condition.item(), None


def case_of(function: Function, A: Tensor, rank: int) -> Case:
    """What is exact for the matrix as it was rounded, by float64 decompositions."""
    wide, unit = A.double(), torch.finfo(A.dtype).eps
    if function.kind != "general":
        exact, condition, rows = _by_eigenvalues(function, wide, rank, unit)
    elif function.p == 1:
        exact, condition, rows = _inverse(wide)
    else:
        exact, condition, rows = _polar(wide, rank)
    return Case(A, exact, max(condition, 1.0), rows)


def case(function: Function, spectrum: Spectrum, dtype: torch.dtype) -> Case:
    """Of a spectrum."""
    return case_of(function, matrix(spectrum, dtype, function.kind), spectrum.rank)


@cache
def cases(name: str, n: int, dtype: torch.dtype) -> dict[str, Case]:
    """Of all the spectra that a function is defined for."""
    function = FUNCTIONS[name]
    return {
        each: case(function, spectrum, dtype)
        for each, spectrum in spectra(n).items()
        if spectrum.rank == n or function.singular
    }
