"""The spectra of the trust table, 40 of them, and the 12 of a given condition that tolerances are held to."""

from dataclasses import dataclass
from functools import cache

import numpy
import torch
from numpy import ndarray
from torch import Tensor

from ...common.matrices import log_spaced, with_eigenvalues, with_singular_values

# On the diagonal of a kernel matrix, which is singular to working precision without it.
RIDGES = {torch.float64: 1e-10, torch.float32: 1e-5}


@dataclass(frozen=True)
class Spectrum:
    """Values `[n]`, the largest 1, of which `rank` are not zero; or a kernel matrix as it is."""

    family: str
    values: ndarray
    rank: int
    kernel: ndarray | None = None


def one_tiny(n: int, tiny: float) -> ndarray:
    return numpy.append(numpy.ones(n - 1), tiny)


def half_tiny(n: int, tiny: float) -> ndarray:
    return numpy.repeat((1.0, tiny), (n - n // 2, n // 2))


def rbf(n: int, length: float) -> ndarray:
    """Of n evenly spaced points in [0, 1]."""
    points = numpy.linspace(0, 1, n)
    return numpy.exp(-0.5 * ((points[:, None] - points) / length) ** 2)


def hilbert(n: int) -> ndarray:
    return 1 / (1.0 + numpy.add.outer(numpy.arange(n), numpy.arange(n)))


def _families(n: int) -> dict[str, dict[str, ndarray]]:
    random = numpy.random.default_rng(0)

    def gaussian(aspect: int) -> ndarray:
        return numpy.linalg.svd(random.standard_normal((aspect * n, n)), compute_uv=False)

    bulk, ones, ranks = gaussian(1) / (2 * n**0.5), numpy.ones(n), (1, n // 8, n // 8, n // 2, n - 2)
    return {
        "plain": {
            **{f"log-spaced to 1e-{d}": log_spaced(n, 10.0**d) for d in (1, 2, 3, 4, 5)},
            **{f"Gaussian {aspect}:1": gaussian(aspect) for aspect in (1, 2, 4)},
            **{"flat": ones, "uniform": random.random(n)},
        },
        "tails": {
            "Student-t 1.5": numpy.linalg.svd(random.standard_t(1.5, (n, n)), compute_uv=False),
            **{f"lognormal {width}": random.lognormal(0, width, n) for width in (0.8, 2.2)},
            "Pareto 0.7": random.random(n) ** (-1 / 0.7),
            "exponential": numpy.exp(-7 * numpy.linspace(0, 1, n)),
        },
        "spikes": {
            "1 × 100 on flat": numpy.append(ones[1:], 100.0),
            "3 × 30 on Gaussian": numpy.append(bulk[3:], (30.0,) * 3),
            "8 × 10 on Gaussian": numpy.append(bulk[8:], (10.0,) * 8),
        },
        "one tiny value": {f"ones and {tiny:g}": one_tiny(n, tiny) for tiny in (1e-2, 1e-3, 1e-4, 1e-5)},
        "half tiny": {f"half {tiny:g}": half_tiny(n, tiny) for tiny in (1e-1, 1e-2, 1e-3, 1e-4)},
        "low rank": {
            f"rank {rank} to {condition}": numpy.append(log_spaced(rank, condition), numpy.zeros(n - rank))
            for rank, condition in zip(ranks, (1, 1, 30, 30, 30))
        },
        "powers": {f"k^-{power}": numpy.arange(1.0, n + 1) ** -power for power in (2, 3, 4, 5, 6)},
    }


@cache
def spectra(n: int) -> dict[str, Spectrum]:
    """All by name."""
    made = {}
    for family, by_name in _families(n).items():
        for name, values in by_name.items():
            values = numpy.sort(values / values.max())[::-1].copy()
            made[name] = Spectrum(family, values, int((values > 0).sum()))
    kernels = {"RBF 0.1": rbf(n, 0.1), "RBF 0.5": rbf(n, 0.5), "Hilbert": hilbert(n)}
    # Of a few rows the Hilbert matrix is not singular yet: as it is used to try solvers.
    kernels["Hilbert of 8"] = numpy.kron(numpy.eye(n // 8), hilbert(8))
    for name, kernel in kernels.items():
        made[name] = Spectrum("kernels", numpy.empty(0), len(kernel), kernel)
    return made


def matrix(spectrum: Spectrum, dtype: torch.dtype, general: bool, other_sign: int = 1) -> Tensor:
    """`[n, n]` with these singular values, or eigenvalues, of which every second one has the other sign."""
    if spectrum.kernel is not None:
        A = torch.from_numpy(spectrum.kernel)
        return (A + RIDGES[dtype] * torch.eye(len(A), dtype=A.dtype)).to(dtype)
    if general:
        return with_singular_values(spectrum.values).to(dtype)
    signs = numpy.where(numpy.arange(len(spectrum.values)) % 2, other_sign, 1)
    return with_eigenvalues(spectrum.values * signs).to(dtype)


def of_condition(n: int, condition: float) -> dict[str, ndarray]:
    """Twelve spectra `[n]` from 1 down to exactly 1/condition, by name."""
    low, place, few = 1 / condition, numpy.linspace(0, 1, n), max(n // 10, 1)

    def between(share: ndarray) -> ndarray:
        """Values at these shares of the way, in the logarithm; both ends kept."""
        return condition ** -numpy.concatenate([[0.0], numpy.sort(share)[1:-1], [1.0]])

    return {
        "log-uniform": log_spaced(n, condition),
        "uniform": 1 - place * (1 - low),
        "one tiny": one_tiny(n, low),
        "one large": numpy.append(1.0, numpy.full(n - 1, low)),
        "half tiny": half_tiny(n, low),
        "a tenth tiny": numpy.repeat((1.0, low), (n - few, few)),
        "a tenth large": numpy.repeat((1.0, low), (few, n - few)),
        "middle": between(numpy.full(n, 0.5)),
        "thirds": between(numpy.floor(3 * place).clip(0, 2) / 2),
        "most near one": between(place**4),
        "most near the least": between(place**0.25),
        "random": between(numpy.random.default_rng(0).random(n)),
    }
