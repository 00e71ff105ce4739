"""The adaptive quintic: all three coefficients of a step chosen for the spectrum at hand.

A step maps a singular value σ = u√x of X, x in (0, 1], to σ g(x), where u ≥ 1 bounds σ_max. Of the quintics

    √x g(x) = c √x (s t - (s + t) x/3 + x²/5),      s = ρ t ≤ t,

whose derivative vanishes at x = s and x = t, it takes the one of least loss on a grid of (t, ρ). With R the
residual, S the sketch, h = 1 - x (u g)² the next residual and fixed values ν_k of x, the loss is

    ‖S h‖_F²/(nq) + Σ_k m_k h(ν_k)².

Its best c is a quotient of moments, cut off where σ could exceed a cap. The masses m_k stand for what moments
of low degree do not resolve, singular values that later steps have yet to raise: they are proportional
to how much of the spectrum lies near x = 0, by weights for each number of steps left, and vanish on
convergence. s = t = 1/u² is the classical step, t = 1/u² the family of the rule "prism", small ρ the
minimax steps of Polar Express.

What holds by construction: ρ > 1/5 leaves g no zero, so that no singular value changes its sign; σ stays in
(0, cap]; a step is the classical one unless the loss of another is less by more than rounding. Near
convergence that margin makes every step the classical one, which converges cubically.

The candidates' values at the nodes of the quadrature rule and at the ν_k are the same in every step.
"""

from math import inf
from types import ModuleType
from typing import NamedTuple

import torch

from .quadrature import MOMENTS, NODES, Array, nodes_at, weights_from_moments

CLASSICAL = (1.0, 0.5, 0.375)
# The grid: values of ρ = s/t, and for each some t about the one whose peaks at x = s and x = 1 are equal.
_RATIOS = 24
_OFFSETS = 9
COUNT = _RATIOS * _OFFSETS
_LOWEST_RATIO = 0.206
_BEND = 0.36
_SPREAD = (0.019, 0.19)
# What a candidate must gain, as a share of ⟨1⟩: above the rounding of the moments in float32.
_MARGIN = 1e-5

# By the number of steps left, the last one first; the last entry serves all earlier steps.
# The largest singular value that a step may make; up to 1.53 the classical step does not raise one.
_CAPS = (1.245, 1.25, 1.27, 1.29)
# The lowest ρ, by its place in the grid, of runs of five steps and more: the last step's dips are above half
# its peaks, so that a few values at one do not fall for the sake of many near zero.
_FIRST_RATIOS = (3, 1, 0)
# ν_k; how much mass k follows each feature of the spectrum; and the features' weights by the number of steps
# left. Found by minimising the final errors over random spectra.
_MASS_POINTS = (0.0132, 0.16, 0.353, 0.48, 0.952)
_SHAPES = (
    (0.48, 1.0, 1.0, 1.0),
    (0.073, 0.00061, 0.00022, 0.00012),
    (0.15, 0.17, 0.0, 0.0),
    (0.0, 0.0, 0.013, 0.17),
    (1.0, 0.45, 0.021, 0.0),
)
_WEIGHTS = (
    (0.0002, 0.00012, 7.3e-05, 1.1),
    (0.0071, 0.011, 0.031, 2.5),
    (9.9, 5.6, 3.0, 0.046),
    (29.0, 0.29, 1300.0, 0.013),
    (0.08, 94.0, 20.0, 0.0021),
    (0.26, 1500.0, 160000.0, 1.7),
)
# The same for runs of at most four steps.
_SHORT_WEIGHTS = (
    (0.0012, 0.022, 0.0003, 1.3),
    (0.0022, 2.3, 2.1, 0.63),
    (5.5, 0.14, 23.0, 0.077),
    (510.0, 1.8, 560.0, 0.061),
)
# A run of more than so many steps ends with some that go by the spectrum alone.
_PLANNED = 8
_POINTS = NODES + len(_MASS_POINTS)


class Tables(NamedTuple):
    """What every step reads; it depends on nothing but the dtype.

    Each is one tensor with rows of several kinds, because Inductor keeps in memory what a product reads and
    would compute all else anew at each use.

    readout: `[36 + 5, P]`, from moments to the weights of the points, of which the masses' are still zero;
        then the points' x; then each point's share in the four features.
    candidates: `[P + 4, N]`, x g² for c = 1 at the points; the index; 1/(largest √x g)²; s t; (s + t)/3.
    squares: `[P, N]`, (x g²)².
    pad: by how much rounding may raise σ above its bound; beyond it the steepest quintics rise 24 times as
        fast as their argument.
    """

    readout: Array
    candidates: Array
    squares: Array
    pad: float

    @property
    def points(self) -> Array:
        return self.readout[MOMENTS]

    def share(self, feature: int) -> Array:
        return self.readout[MOMENTS + 1 + feature]


def pad_of(dtype: torch.dtype) -> float:
    return 1 + max(0.002, 1.5 * torch.finfo(dtype).eps)


def _placed(values: tuple[float, ...], point: Array, otherwise: Array, xp: ModuleType) -> Array:
    """These values at the places of the masses."""
    for place, value in enumerate(values, NODES):
        otherwise = xp.where(point == place, value, otherwise)
    return otherwise


def _readout(index: Array, xp: ModuleType) -> Array:
    point = index[:_POINTS]
    weights = weights_from_moments(index[:MOMENTS, None], point, xp)
    rows = [_placed(_MASS_POINTS, point, nodes_at(point, xp), xp)]
    rows += [_placed(column, point, 0.0 * point, xp) for column in zip(*_SHAPES)]
    return xp.concatenate((weights, *(row[None] for row in rows)), 0)


def tables(index: Array, dtype: torch.dtype, xp: ModuleType = torch) -> Tables:
    """For matrices of a dtype; index: 0, 1, …, N - 1 in the type and on the device to compute in."""
    along, across = index % _RATIOS * (1 / (_RATIOS - 1)), index // _RATIOS * (2 / (_OFFSETS - 1)) - 1
    rho = _LOWEST_RATIO + along * (1 - _BEND + _BEND * along) * (1 - _LOWEST_RATIO)
    # The t of equal peaks, to 5e-5.
    balanced = 0.6046 + rho * (0.34287 + rho * (0.052808 * rho - 0.0002346))
    t = balanced * (1 + across * (_SPREAD[0] + _SPREAD[1] * across * across))
    # Kept in memory by being joined: written out anew at each use they take Inductor seconds.
    grid = xp.concatenate((rho[None], t[None]), 0)
    rho, t = grid[0], grid[1]
    product, third, at = rho * t * t, (rho * t + t) / 3, (rho * t).clip(max=1.0)
    peak = xp.maximum(at**0.5 * (product + at * (0.2 * at - third)), product - third + 0.2)

    readout = _readout(index, xp)
    x = readout[MOMENTS][:, None]
    g = product + x * (0.2 * x - third)
    response = x * g * g
    rows = (index, 1 / (peak * peak), product, third)
    candidates = xp.concatenate((response, *(row[None] for row in rows)), 0)
    return Tables(readout, candidates, response * response, pad_of(dtype))


def _of_step(values: tuple, left: int):
    """The entry for a step with so many to go, itself included."""
    return values[min(left, len(values)) - 1]


def _sum(terms: Array) -> Array:
    return terms.sum(-1)[..., None]


def _is_long(steps: int) -> bool:
    return steps > len(_SHORT_WEIGHTS)


def _factors(step: int, steps: int) -> tuple[float, ...] | None:
    """The weights of the features in a step; None at the end of a long run."""
    free = min(steps - _PLANNED + 1, steps // 3) if steps > _PLANNED else 0
    left = steps - step - free
    return _of_step(_WEIGHTS if _is_long(steps) else _SHORT_WEIGHTS, left) if left > 0 else None


def _features(weights: Array, x: Array) -> tuple[Array, ...]:
    """What the masses follow, each in [0, 1] and zero on convergence; x: eigenvalues of XᵀX at the points."""
    low = (1 - x).clip(min=0.0)
    # Most of the first three is what lies near x = 0, however near; of the last what one step can raise.
    size, tail, near = (_sum(weights * f).clip(0.0, 1.0) for f in (low**6, low**10, 25 * x * low**9))
    return size, tail, tail**16, near


def _weights(moments: Array, x: Array, factors: tuple[float, ...] | None, found: Tables) -> Array:
    """The weights of the nodes, then the masses, `[…, P]`; x as in `_features`."""
    weights = moments @ found.readout[:MOMENTS]
    if factors is not None:
        for number, (factor, feature) in enumerate(zip(factors, _features(weights, x))):
            weights = weights + factor * feature * found.share(number)
    return weights


def _classical(x: Array) -> Array:
    """What the classical step makes of σ = √x, over σ."""
    r = 1 - x
    return CLASSICAL[0] + r * (CLASSICAL[1] + r * CLASSICAL[2])


def _classical_loss(weights: Array, x: Array) -> Array:
    return _sum(weights * (1 - x * _classical(x) ** 2) ** 2)


def fit_quintic(
    moments: Array, u: Array, step: int, steps: int, found: Tables, xp: ModuleType = torch
) -> tuple[Array, Array, Array, Array]:
    """g0, g1, g2 in powers of r and the next u, `[b, 1, 1]`, from the moments `[b, 1, 36]` and u."""
    u2 = u * u
    x = u2 * found.points
    weights = _weights(moments, x, _factors(step, steps), found)
    cap = _of_step(_CAPS, steps - step)
    first = _of_step(_FIRST_RATIOS, steps - step) if _is_long(steps) else 0
    index, narrowness, product, third = (found.candidates[_POINTS + k] for k in range(4))

    # The loss ⟨1⟩ - 2c²A + c⁴B of each candidate at its best c. Rounding may make a vanishing B negative.
    A, B = weights @ found.candidates[:_POINTS], weights @ found.squares
    highest = cap * cap * narrowness
    c2 = xp.where(B > 0, xp.minimum((A / B).clip(min=0.0), highest), highest)
    gain = c2 * (2 * A - c2 * B)
    best = xp.where(index % _RATIOS >= first, gain, gain - inf).argmax(-1)[..., None]
    # Sums over one candidate; Inductor keeps sums in memory, and would compute a selection anew at each use.
    chosen = index == best

    total = _sum(weights)
    gain = _sum(gain * chosen) - total + _classical_loss(weights, x)
    better = gain > _MARGIN * total
    c, top = _sum(c2 * chosen) ** 0.5, _sum(c2 / narrowness * chosen) ** 0.5
    q0, q1, q2 = c / u * _sum(product * chosen), c / (u * u2) * _sum(-third * chosen), 0.2 * c / (u * u2 * u2)
    fitted = (q0 + q1 + q2, -q1 - 2 * q2, q2)
    g = tuple(xp.where(better, a, b) for a, b in zip(fitted, CLASSICAL))
    top = xp.where(better, top, u * _classical(u2))
    # One tensor, kept in memory: the kernels that read it are then the same in every step.
    numbers = xp.concatenate((*g, top.clip(min=1.0) * found.pad), -1)
    return tuple(numbers[..., k : k + 1] for k in range(4))


def steepest(left: int) -> float:
    """A bound on g(0) for a step with so many to go, itself included: a √x g ≤ 1 has g(0) ≤ 4.2."""
    return 4.2 * _of_step(_CAPS, left)
