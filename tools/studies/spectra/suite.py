"""The spectra that the rules are compared on: synthetic ones of many families, and momentum from training.

To add a spectrum, add a row to `SPECTRA`.
"""

from collections.abc import Callable
from functools import cache, partial
from math import ceil
from zlib import crc32

import numpy
import torch
from numpy import ndarray
from numpy.random import Generator
from torch import Tensor

from ..common.matrices import dressed
from ..common.text_model import gather

# From n and a source of randomness: singular values `[n]`, which are given random vectors, or a matrix.
Build = Callable[[int, Generator], ndarray]

_LAYERS = ("attention.qkv", "attention.out", "mlp.up", "mlp.down")


def flat(n: int, random: Generator, spread: float) -> ndarray:
    """Evenly spaced values about 1."""
    return numpy.linspace(1 + spread, 1 - spread, n)


def gaussian(n: int, random: Generator, aspect: float = 1.0) -> ndarray:
    return random.standard_normal((round(aspect * n), n))


def power_law(n: int, random: Generator, exponent: float) -> ndarray:
    return numpy.arange(1.0, n + 1) ** -exponent


def lognormal_scales(n: int, random: Generator, rows: float, columns: float) -> ndarray:
    """A Gaussian matrix with rows and columns of unequal sizes."""
    scales = random.lognormal(0, rows, (n, 1)) * random.lognormal(0, columns, n)
    return scales * random.standard_normal((n, n))


def clusters(n: int, random: Generator, levels: dict[float, float]) -> ndarray:
    """Values at a few levels, each with its share of the n."""
    ends = numpy.cumsum(list(levels.values()))
    return numpy.array(list(levels))[numpy.searchsorted(ends, (numpy.arange(n) + 0.5) / n)]


def spikes(n: int, random: Generator, bulk: Build, times: tuple[float, ...]) -> ndarray:
    """A few values so many times as large as the largest of a bulk."""
    values = bulk(n, random)
    if values.ndim == 2:
        values = numpy.linalg.svd(values, compute_uv=False)
    few = len(times[: n // 2])
    return numpy.concatenate([values[0] * numpy.array(times[:few]), values[few:]])


def low_rank(n: int, random: Generator, rank: int | float, noise: float) -> ndarray:
    """A product of n×r and r×n Gaussians and noise of `noise` times its norm; a fractional rank is of n."""
    r = ceil(rank * n) if isinstance(rank, float) else min(rank, n)
    signal = random.standard_normal((n, r)) @ random.standard_normal((r, n))
    rest = random.standard_normal((n, n))
    return signal / numpy.linalg.norm(signal, 2) + noise / numpy.linalg.norm(rest, 2) * rest


def outer_products(n: int, random: Generator, samples: float, steps: int, exponent: float) -> ndarray:
    """Momentum of gradients YᵀX, each of `samples`·n pairs; the features' deviations are a power law."""
    scales = power_law(n, random, exponent)
    momentum = numpy.zeros((n, n))
    for _ in range(steps):
        Y, X = random.standard_normal((2, ceil(samples * n), n)) * scales
        momentum = 0.95 * momentum + Y.T @ X
    return momentum


def _student(freedom: float) -> Build:
    return lambda n, random: random.standard_t(freedom, (n, n))


def _lognormal(width: float) -> Build:
    return lambda n, random: random.lognormal(0, width, n)


def _log_spaced(decades: float) -> Build:
    return lambda n, random: numpy.logspace(0, -decades, n)


def _beta(low: float, high: float) -> Build:
    return lambda n, random: random.beta(low, high, n)


def _product(factors: int) -> Build:
    return lambda n, random: numpy.linalg.multi_dot([gaussian(n, random) for _ in range(factors)])


SPECTRA: dict[str, dict[str, Build]] = {
    "flat": {"flat": partial(flat, spread=0.0), "flat ±20 %": partial(flat, spread=0.2)},
    "Gaussian": {f"Gaussian {a:g}:1": partial(gaussian, aspect=a) for a in (1, 1.1, 1.5, 2, 4, 16)},
    "log-spaced": {f"log-spaced to 1e-{d:g}": _log_spaced(d) for d in (1, 1.6, 2, 2.7, 3, 3.4, 4, 5, 6)},
    "power law": {f"power law {e:g}": partial(power_law, exponent=e) for e in (0.25, 0.6, 1, 1.4, 2, 2.3, 3)},
    "exponential": {
        "exponential over 0.015": lambda n, random: numpy.exp(-14 * numpy.linspace(0, 1, n)) + 0.015,
        "stretched exponential": lambda n, random: numpy.exp(-((40 * numpy.linspace(0, 1, n)) ** 0.5)),
        "squared exponential": lambda n, random: numpy.exp(-((2.4 * numpy.linspace(0, 1, n)) ** 2)),
    },
    "heavy tails": {
        **{f"Student-t {f:g}": _student(f) for f in (1.5, 2, 2.6, 4)},
        # Of random sign: positive entries would add a single large value.
        "lognormal entries": lambda n, random: (
            random.lognormal(0, 1.7, (n, n)) * random.choice((-1, 1), (n, n))
        ),
        "lognormal values 0.8": _lognormal(0.8),
        "lognormal values 2.2": _lognormal(2.2),
        "lognormal rows": partial(lognormal_scales, rows=1.5, columns=0.0),
        "lognormal rows, columns": partial(lognormal_scales, rows=1.1, columns=0.7),
    },
    "clusters": {
        "half at 0.1": partial(clusters, levels={1.0: 0.5, 0.1: 0.5}),
        "9/10 at 0.013": partial(clusters, levels={1.0: 0.1, 0.013: 0.9}),
        "a tenth at 3e-4": partial(clusters, levels={1.0: 0.9, 3e-4: 0.1}),
        "three levels": partial(clusters, levels={1.0: 0.2, 0.17: 0.5, 0.022: 0.3}),
        "five levels": partial(clusters, levels={1: 0.1, 0.3: 0.15, 0.05: 0.35, 4e-3: 0.3, 7e-4: 0.1}),
    },
    "spikes": {
        "1 × 300 on flat": partial(spikes, bulk=partial(flat, spread=0.0), times=(300,)),
        "5 × 17-90 on flat": partial(spikes, bulk=partial(flat, spread=0.3), times=(90, 60, 41, 25, 17)),
        "1 × 100 on Gaussian": partial(spikes, bulk=gaussian, times=(100,)),
        "3 × 30 on Gaussian": partial(spikes, bulk=gaussian, times=(30, 30, 30)),
        "8 × 10 on 2:1 Gaussian": partial(spikes, bulk=partial(gaussian, aspect=2), times=(10,) * 8),
    },
    "low rank": {
        "rank 1, noise 0.01": partial(low_rank, rank=1, noise=0.01),
        "rank 4, noise 0.1": partial(low_rank, rank=4, noise=0.1),
        "rank n/16, noise 0.003": partial(low_rank, rank=1 / 16, noise=0.003),
        "rank n/3, noise 0.03": partial(low_rank, rank=1 / 3, noise=0.03),
        "rank 0.8 n, noise 1e-4": partial(low_rank, rank=0.8, noise=1e-4),
    },
    "bounded": {
        **{"uniform": _beta(1, 1), "beta (0.5, 0.5)": _beta(0.5, 0.5)},
        **{"beta (0.4, 3)": _beta(0.4, 3), "triangular": _beta(2, 1)},
    },
    "sums, products": {
        "product of 2 Gaussians": _product(2),
        "product of 3 Gaussians": _product(3),
        "outer products, small batch": partial(outer_products, samples=1 / 40, steps=120, exponent=0.3),
        "outer products, large batch": partial(outer_products, samples=2.0, steps=20, exponent=0.7),
    },
}


@cache
def trained_momentum(steps: int) -> dict[str, Tensor]:
    """Muon's momentum of every hidden matrix of the text model after so many steps."""
    weights = {f"{layer} {block}": f"blocks.{block}.{layer}.weight" for block in (0, 1) for layer in _LAYERS}
    momentum = gather(tuple(weights.values()), steps).momentum
    return {name: momentum[weight] for name, weight in weights.items()}


@cache
def suite(n: int = 128, training_steps: int = 100) -> dict[str, dict[str, Tensor]]:
    """The matrices `[m, n]` by family and name; float64, but trained ones float32 and of their own shapes.

    No training with `training_steps=0`. A matrix depends on its name and n alone.
    """
    matrices: dict[str, dict[str, Tensor]] = {}
    for family, builds in SPECTRA.items():
        for name, build in builds.items():
            random = numpy.random.default_rng((0, crc32(name.encode())))
            made = build(n, random)
            made = dressed(made, random.standard_normal) if made.ndim == 1 else made
            matrices.setdefault(family, {})[name] = torch.from_numpy(made)
    if training_steps:
        matrices["trained"] = trained_momentum(training_steps)
    return matrices
