"""The functions that are tried, what is exact for them, and how much they enlarge a change of A."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

import prism_compile

from .inputs import Spectrum, matrix, spectra

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

    @property
    def other_sign(self) -> int:
        """Of every second eigenvalue."""
        return -1 if self.kind == "signed" else 1

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


@dataclass(frozen=True)
class Case:
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
    A = matrix(spectrum, dtype, function.kind == "general", function.other_sign)
    return case_of(function, A, spectrum.rank)


@cache
def cases(name: str, n: int, dtype: torch.dtype) -> dict[str, Case]:
    """Of all the spectra that a function is defined for."""
    function = FUNCTIONS[name]
    return {
        each: case(function, spectrum, dtype)
        for each, spectrum in spectra(n).items()
        if spectrum.rank == n or function.singular
    }
