"""Makes trajectories.json anew: `python -m tests.golden.make`, from the root of the tree.

Scalar arithmetic in float64 on known eigenvalues, by the formulas of the paper alone; nothing of the package
is used. Eigenvalues m of M = I - R go to m g(1 - m)^p, and the coefficient α of g's last power is the
minimiser of the next residual's norm, found among the roots of a derivative.
"""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.polynomial import polynomial

FILE = Path(__file__).parent / "trajectories.json"
ABOUT = (
    "Exact-fit trajectories in float64. 'spectrum' is the eigenvalues before scaling (see spectra), "
    "'rms_residual' is ||I - M_k||_F/sqrt(n) after each step, 'alpha' the coefficient used in that step. "
    "alpha is meaningful only while the residual before the step is above 1e-6."
)
STEPS = 12
# (p, degree) and the scalings that each is run with.
RUNS = [
    (1, 2, ("spd_frobenius",)),
    (2, 1, ("polar_frobenius", "schatten")),
    (2, 2, ("polar_frobenius", "schatten")),
    (4, 1, ("spd_frobenius",)),
    (4, 2, ("spd_frobenius",)),
]
# The interval of α is [c_d, κ_d c_d].
WIDEST = {1: Fraction(2), 2: Fraction(58, 15)}


def spectra(n: int = 200) -> dict[str, np.ndarray]:
    return {
        "log_1e-2": np.logspace(-2, 0, n),
        "log_1e-4": np.logspace(-4, 0, n),
        "log_1e-6": np.logspace(-6, 0, n),
        "uniform_0.1_1": np.linspace(0.1, 1, n),
        "power_law": np.arange(1, n + 1) ** -1.5,
        "two_clusters": np.repeat([1.0, 1e-3], [n // 10, n - n // 10]),
        "identity": np.ones(8),
    }


def bound(values: np.ndarray, scaling: str) -> float:
    """What the eigenvalues are divided by."""
    if scaling == "polar_frobenius":
        # ‖A‖_F² of the A whose Gram matrix has these eigenvalues.
        return values.sum()
    if scaling == "spd_frobenius":
        return np.linalg.norm(values)
    return np.linalg.norm(values**2) ** 0.5


def taylor(p: int, degree: int) -> list[Fraction]:
    """c_0 … c_d of (1 - ξ)^(-1/p)."""
    c = [Fraction(1)]
    for j in range(1, degree + 1):
        c.append(c[-1] * (Fraction(1, p) + j - 1) / j)
    return c


def step(values: np.ndarray, alpha: float, p: int, degree: int) -> np.ndarray:
    r = 1 - values
    return (
        values * (sum(float(c) * r**j for j, c in enumerate(taylor(p, degree)[:-1])) + alpha * r**degree) ** p
    )


def fitted(values: np.ndarray, p: int, degree: int) -> float:
    """The α of least ‖1 - m g^p‖ on its interval.

    With α = c_d + δ and g = t + δ r^d, t the classical polynomial, each value's next residual is a polynomial
    in δ, and the loss the sum of their squares.
    """
    r, c = 1 - values, taylor(p, degree)
    t = sum(float(a) * r**j for j, a in enumerate(c))
    power = [np.ones_like(r)]
    for _ in range(p):
        power = [
            t * (power[k] if k < len(power) else 0) + r**degree * (power[k - 1] if k else 0)
            for k in range(len(power) + 1)
        ]
    residual = np.stack([-values * row for row in power])
    residual[0] += 1
    loss = np.zeros(2 * p + 1)
    for j in range(p + 1):
        for k in range(p + 1):
            loss[j + k] += residual[j] @ residual[k]
    width = float((WIDEST[degree] - 1) * c[-1])
    if not loss[1:].any():
        return float(c[-1])
    stationary = polynomial.polyroots(polynomial.polyder(loss / np.abs(loss[1:]).max()))
    inner = stationary.real[abs(stationary.imag) < 1e-7 * (1 + abs(stationary.real))]
    candidates = np.concatenate([[0.0, width], inner[(inner > 0) & (inner < width)]])
    # Without the constant, beside which a small difference would be lost.
    losses = polynomial.polyval(candidates, np.concatenate([[0.0], loss[1:]]))
    return float(c[-1]) + candidates[losses.argmin()]


def trajectory(values: np.ndarray, p: int, degree: int, scaling: str, rule: str) -> dict[str, list[float]]:
    values = values / bound(values, scaling)
    alphas, residuals = [], []
    for _ in range(STEPS):
        alpha = fitted(values, p, degree) if rule == "prism" else float(taylor(p, degree)[-1])
        values = step(values, alpha, p, degree)
        alphas.append(round(alpha, 6))
        residuals.append(float(f"{np.linalg.norm(1 - values) / len(values) ** 0.5:.7g}"))
    return {"alpha": alphas, "rms_residual": residuals}


def golden() -> dict:
    made = [
        {"spectrum": name, "p": p, "degree": degree, "scaling": scaling, "rule": rule}
        | trajectory(values, p, degree, scaling, rule)
        for name, values in spectra().items()
        for p, degree, scalings in RUNS
        for scaling in scalings
        for rule in ("prism", "taylor")
    ]
    return {
        "about": ABOUT,
        "spectra": {name: v.tolist() for name, v in spectra().items()},
        "trajectories": made,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(golden()) + "\n")
