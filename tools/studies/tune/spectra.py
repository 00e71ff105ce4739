"""The spectra that the rule "adaptive" is tuned on: random members of families.

A member draws its parameters, too, so that it is none of those that `spectra/suite.py` reports. To add a
family, add a row to `FAMILIES`.
"""

from collections.abc import Callable
from zlib import crc32

import numpy
from numpy import ndarray
from numpy.random import Generator

from ..common.matrices import dressed

# From n and a source of randomness: n singular values in any order and scale.
Family = Callable[[int, Generator], ndarray]

# The least singular value over the largest: what single precision holds with its direction.
_LEAST = 1e-6
# Over the largest, in natural logarithms, where a family has a bottom: within reach of eight steps.
_DEEPEST = 9.0
# The largest condition of the nonzero part of a low-rank matrix.
CONDITION = 30.0


def gaussian(n: int, random: Generator) -> ndarray:
    """Of a Gaussian matrix, square or taller, to a power."""
    aspect = 1 + (random.exponential(0.25) if random.random() < 0.7 else 0.0)
    values = numpy.linalg.svd(random.standard_normal((round(aspect * n), n)), compute_uv=False)
    return values ** random.uniform(0.6, 1.6)


def scaled_gaussian(n: int, random: Generator) -> ndarray:
    """Of a Gaussian matrix with rows and columns of unequal sizes."""
    rows, columns = numpy.exp(random.uniform(0, 1.2, 2)[:, None] * random.standard_normal((2, n)))
    return numpy.linalg.svd(rows[:, None] * columns * random.standard_normal((n, n)), compute_uv=False)


def broken_line(n: int, random: Generator) -> ndarray:
    """The logarithm falls along two to five straight pieces."""
    inner, depth = random.integers(1, 5), random.uniform(0.3, _DEEPEST)
    place, height = (numpy.sort(numpy.concatenate([[0, 1], random.random(inner)])) for _ in range(2))
    return numpy.exp(-depth * numpy.interp(numpy.linspace(0, 1, n), place, height))


def power(n: int, random: Generator) -> ndarray:
    """A power law with a shifted index."""
    return (numpy.arange(n) + random.uniform(0.5, 20)) ** -random.uniform(0.2, 3.5)


def weibull(n: int, random: Generator) -> ndarray:
    """From heavier to lighter tails than the exponential distribution."""
    return random.weibull(random.uniform(0.3, 3), n)


def gamma(n: int, random: Generator) -> ndarray:
    return random.gamma(random.uniform(0.25, 4), size=n)


def loglogistic(n: int, random: Generator) -> ndarray:
    return numpy.exp(random.uniform(0.3, 2) * random.logistic(size=n))


def normal_power(n: int, random: Generator) -> ndarray:
    """Absolute normal variables to a power: many small ones for a large power."""
    return numpy.abs(random.standard_normal(n)) ** random.uniform(0.5, 3)


def pareto(n: int, random: Generator) -> ndarray:
    """Few that are very large."""
    return random.random(n) ** (-1 / random.uniform(0.5, 4))


def clusters(n: int, random: Generator) -> ndarray:
    """Two to five levels with some width each."""
    count = random.integers(2, 6)
    levels = numpy.exp(-random.uniform(0, _DEEPEST) * random.random(count))
    levels[0] = 1
    chosen = random.choice(count, n, p=random.dirichlet(numpy.ones(count)))
    return levels[chosen] * numpy.exp(random.uniform(0, 0.15) * random.standard_normal(n))


def spikes(n: int, random: Generator) -> ndarray:
    """One to eight values of up to e⁵ times a bulk's largest."""
    values, few = _bulk(n, random), random.integers(1, 9)
    values[:few] = numpy.exp(random.uniform(0, 5) * random.random(few))[: len(values[:few])]
    return values


def noisy(n: int, random: Generator) -> ndarray:
    """A part of one bulk over another that is smaller: low rank and noise."""
    signal, noise = _bulk(n, random), _bulk(n, random)
    rank = random.integers(1, n)
    return numpy.concatenate(
        [random.permutation(signal)[:rank], noise[rank:] * numpy.exp(-random.uniform(1, _DEEPEST))]
    )


_BULKS = (gaussian, broken_line, weibull, gamma, loglogistic, normal_power, power)


def _bulk(n: int, random: Generator) -> ndarray:
    """A member of a plain family, falling from one."""
    values = numpy.sort(_BULKS[random.integers(len(_BULKS))](n, random))[::-1]
    return values / values[0]


FAMILIES: dict[str, Family] = {
    "Gaussian": gaussian,
    # Twice what is commonest, and of which a step more or less in reach of a level makes or breaks a member.
    "Gaussian again": gaussian,
    "scaled Gaussian": scaled_gaussian,
    "broken line": broken_line,
    "power": power,
    "Weibull": weibull,
    "gamma": gamma,
    "log-logistic": loglogistic,
    "normal to a power": normal_power,
    "Pareto": pareto,
    "clusters": clusters,
    "clusters again": clusters,
    "spikes": spikes,
    "noisy": noisy,
    "noisy again": noisy,
}


def _source(name: str, *numbers: int) -> Generator:
    return numpy.random.default_rng((crc32(name.encode()), *numbers))


def _falling(values: ndarray, least: float) -> ndarray:
    """Sorted, from one down to the least."""
    values = numpy.sort(values)[::-1]
    return numpy.maximum(values / values[0], least)


def training_spectra(members: int, n: int, seed: int) -> ndarray:
    """So many members of every family, falling from one to no less than 1e-6: `[families · members, n]`.

    A spectrum depends on its family, its number, n and the seed alone.
    """
    drawn = [
        _falling(family(n, _source(name, number, seed)), _LEAST)
        for name, family in FAMILIES.items()
        for number in range(members)
    ]
    return numpy.stack(drawn)


def low_rank_spectra(count: int, n: int, seed: int) -> tuple[ndarray, ndarray]:
    """Exactly low-rank spectra, zeros at the end, and their ranks: `[count, n]`, `[count]`.

    The nonzero values are equal, or spread in the logarithm, some towards the large ones, by at most 30.
    """
    random = _source("low rank", n, seed)
    spectra, ranks = numpy.zeros((count, n)), random.integers(1, n, count)
    for values, rank, kind in zip(spectra, ranks, random.integers(0, 4, count)):
        exponents = (0.0, 1.0, 1.0, 3.0)[kind]
        places = random.random(rank) ** exponents if exponents else numpy.zeros(rank)
        values[:rank] = _falling(CONDITION ** -(random.random() * places), 1 / CONDITION)
    return spectra, ranks


def positive_spectra(members: int, n: int, seed: int) -> tuple[ndarray, ndarray]:
    """Eigenvalues of definite matrices and their conditions, 1e1 to 1e6: `[families · members, n]`.

    Members of the same families, their logarithms stretched to the condition.
    """
    # Three members of a family have conditions from one end to the other.
    numbers = numpy.add.outer(numpy.arange(len(FAMILIES)), 2 * numpy.arange(members)).ravel()
    conditions = 10.0 ** (1 + numbers % 6)
    logarithms = numpy.log(training_spectra(members, n, seed))
    return numpy.exp(logarithms / -logarithms[:, -1:] * numpy.log(conditions)[:, None]), conditions


def matrices(spectra: ndarray, symmetric: bool, seed: int) -> tuple[ndarray, ndarray, ndarray]:
    """Matrices with these singular values and random vectors, and the left and right vectors as columns.

    symmetric: whether the two are the same, so that the values are eigenvalues.
    """
    return dressed(spectra, _source("vectors", seed).standard_normal, symmetric)
