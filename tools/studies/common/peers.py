"""What would be used instead of the library, each in its usual, efficient form."""

from functools import cache

import numpy
import torch
from torch import Tensor
from torch.optim._muon import _zeropower_via_newtonschulz

Quintic = tuple[float, float, float]
Quintics = tuple[Quintic, ...]


def _for_enlarged(rows: Quintics, factor: float) -> Quintics:
    """Rows for arguments larger by a factor."""
    return tuple((a / factor, b / factor**3, c / factor**5) for a, b, c in rows)


# Amsel et al., arXiv 2505.16932, their code's, for singular values in [1e-3, 1], before the safety.
SAFETY = 1.01
POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.9089021159629494, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
# As their authors publish and use them, not as the library has them: coefficients, the last row for
# all further steps, and the factor on the Frobenius norm that is divided by.
TABLES: dict[str, tuple[Quintics, float]] = {
    "Polar Express": ((*_for_enlarged(POLAR_EXPRESS, SAFETY), (1.875, -1.25, 0.375)), SAFETY),
    "Jordan": (((3.4445, -4.7750, 2.0315),), 1.0),
    "You": (
        (
            *((4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037)),
            *((2.8769, -3.1427, 1.2046), (2.8366, -3.0525, 1.2012)),
        ),
        1.0,
    ),
}
_NORM_FLOOR = 1e-7


def _multiply_add(C: Tensor, A: Tensor, B: Tensor, beta: float, alpha: float = 1.0) -> Tensor:
    """beta C + alpha A B in one kernel."""
    operation = torch.addmm if A.dim() == 2 else torch.baddbmm
    return operation(C, A, B, beta=beta, alpha=alpha)


def _normalised(G: Tensor, margin: float) -> Tensor:
    """G/(margin ‖G‖_F), transposed so that X Xᵀ is the smaller Gram matrix."""
    X = G.mT if G.shape[-2] > G.shape[-1] else G
    return X / (margin * X.norm(dim=(-2, -1), keepdim=True) + _NORM_FLOOR)


def apply_quintics(X: Tensor, quintics: Quintics) -> Tensor:
    """X ← a X + (b A + c A²) X with A = X Xᵀ, for each row (a, b, c)."""
    for a, b, c in quintics:
        A = X @ X.mT
        X = _multiply_add(X, _multiply_add(A, A, A, beta=b, alpha=c), X, beta=a)
    return X


def newton_schulz(G: Tensor, table: str, steps: int) -> Tensor:
    """Polar factor by fixed quintics; the last row is repeated."""
    quintics, margin = TABLES[table]
    rows = tuple(quintics[min(step, len(quintics) - 1)] for step in range(steps))
    X = apply_quintics(_normalised(G, margin), rows)
    return X.mT if G.shape[-2] > G.shape[-1] else X


def gram_newton_schulz(G: Tensor, table: str, steps: int, restart: int = 2) -> Tensor:
    """The same on the Gram matrix R = X Xᵀ alone: Q gathers the polynomials, one restart keeps it stable."""
    quintics, margin = TABLES[table]
    X = _normalised(G, margin)
    R, Q = X @ X.mT, None
    for step in range(steps):
        if step == restart:
            X = Q @ X
            R, Q = X @ X.mT, None
        a, b, c = quintics[min(step, len(quintics) - 1)]
        Z = _multiply_add(R, R, R, beta=b, alpha=c)
        eye = torch.eye(R.shape[-1], dtype=R.dtype, device=R.device)
        Q = a * eye + Z if Q is None else _multiply_add(Q, Q, Z, beta=a)
        if step not in (restart - 1, steps - 1):
            RZ = _multiply_add(R, R, Z, beta=a)
            R = _multiply_add(RZ, Z, RZ, beta=a)
    X = Q @ X
    return X.mT if G.shape[-2] > G.shape[-1] else X


def torch_muon(G: Tensor, steps: int = 5) -> Tensor:
    """`torch.optim.Muon`'s own: 2-D, in bfloat16. It overwrites a bfloat16 argument, hence the copy."""
    A = G.clone() if G.dtype == torch.bfloat16 else G
    return _zeropower_via_newtonschulz(A, TABLES["Jordan"][0][0], steps, _NORM_FLOOR)


def coupled_newton(A: Tensor, p: int, tolerance: float = 1e-6, most: int = 100) -> tuple[Tensor, int]:
    """A^(-1/p) as Shampoo takes it, and the steps used: X ← X g, M ← g^p M, g = ((p+1)I - M)/p.

    Stops where max|M - I| ≤ tolerance, which the host waits for in every step. 2-D only.
    """
    eye = torch.eye(len(A), dtype=A.dtype, device=A.device)
    z = (1 + p) / (2 * torch.linalg.norm(A))
    X, M = z ** (1 / p) * eye, z * A
    steps = 0
    while steps < most and (M - eye).abs().max().item() > tolerance:
        g = (1 + 1 / p) * eye - M / p
        X, M = X @ g, torch.linalg.matrix_power(g, p) @ M
        steps += 1
    return X, steps


def coupled_newton_each(A: Tensor, p: int) -> Tensor:
    """`coupled_newton` of each matrix of a batch in turn, as it must be used."""
    if A.dim() == 2:
        return coupled_newton(A, p)[0]
    return torch.stack([coupled_newton(matrix, p)[0] for matrix in A])


# CANS, whose coefficients are for a number of steps: Grishina, Smirnov, Rakhuba, arXiv 2506.10935.


def minimax_quintic(lower: float, upper: float) -> tuple[Quintic, float]:
    """The a x + b x³ + c x⁵ closest to 1 on [lower, upper] and its largest deviation, by Remez exchange.

    The error alternates at lower, two points between and upper; for upper - lower ≪ 1 the equations become
    singular.
    """
    points = numpy.linspace(lower, upper, 4)
    for _ in range(100):
        equations = numpy.column_stack([points, points**3, points**5, (1.0, -1.0, 1.0, -1.0)])
        a, b, c, deviation = numpy.linalg.solve(equations, numpy.ones(4)).tolist()
        turning = numpy.sqrt(numpy.sort(numpy.roots([5 * c, 3 * b, a])))
        points = numpy.array([lower, *turning, upper])
        reached = numpy.abs(a * points + b * points**3 + c * points**5 - 1).max()
        if reached <= deviation * (1 + 1e-9) + 1e-14:
            return (a, b, c), float(reached)
    raise ArithmeticError(f"no alternation on [{lower}, {upper}] after 100 exchanges")


def _composition(lower: float, steps: int, margin: float) -> tuple[Quintics, float]:
    """Quintics of which each is best on the interval that the one before leaves, from [lower, 1]."""
    quintics, upper, deviation = [], 1.0, 1.0
    for _ in range(steps):
        quintic, deviation = minimax_quintic(lower, upper * margin)
        quintics.append(quintic)
        lower, upper = 1 - deviation, 1 + deviation
    return tuple(quintics), deviation


@cache
def cans_quintics(steps: int, delta: float = 0.3, margin: float = 1.01) -> tuple[Quintics, float]:
    """The steps that take the widest [lower, 1] into [1 - delta, 1 + delta], and that lower end.

    margin: the factor by which each interval's upper end is raised. At that end the quintics have slopes
    above 10, and what rounding puts beyond it would diverge within 7 steps in float32.
    """
    # A step more reaches further; from where fewer reach, it would end too close to 1 to be solved for.
    wide, narrow = 1e-12, cans_quintics(steps - 1, delta, margin)[1] if steps > 1 else 0.9
    while narrow > wide * (1 + 1e-10):
        middle = (wide * narrow) ** 0.5
        if _composition(middle, steps, margin)[1] > delta:
            wide = middle
        else:
            narrow = middle
    return _composition(narrow, steps, margin)[0], narrow


def cans(G: Tensor, steps: int, delta: float = 0.3, margin: float = 1.01) -> Tensor:
    """δ-orthogonalisation of `[..., m, n]`: X = G/‖(GGᵀ)²‖_F^(1/4), then the quintics. 3·steps products.

    The two products of the norm are those of the first step, as in the authors' code; so is the margin.
    """
    wide = G.shape[-2] <= G.shape[-1]
    X = G if wide else G.mT
    # The fourth power of an entry would leave the range of float32.
    X = X / X.norm(dim=(-2, -1), keepdim=True)
    A = X @ X.mT
    square = A @ A
    scale = square.norm(dim=(-2, -1), keepdim=True) ** -0.25
    (a, b, c), *others = cans_quintics(steps, delta, margin)[0]
    X = scale * (a * X + (b * scale**2 * A + c * scale**4 * square) @ X)
    X = apply_quintics(X, tuple(others))
    return X if wide else X.mT
