"""Makes trajectories.json anew: `python -m tests.golden.make`, from the root of the tree.

Nothing of the package is used: the steps are those of `tests/reference.py` on a diagonal matrix, which is a
stack of 1×1 matrices. Their sketch [[1]] makes the fit of the stack the exact one.
"""

import json
from pathlib import Path

import numpy as np

from ..reference import step_polynomial

FILE = Path(__file__).parent / "trajectories.json"
ABOUT = (
    "Exact-fit trajectories in float64. 'spectrum' is the eigenvalues before scaling (see spectra), "
    "'rms_residual' is ||I - M_k||_F/sqrt(n) after each step, 'alpha' the coefficient used in that step. "
    "alpha is meaningful only while the residual before the step is above 1e-6."
)
STEPS = 12
# What the eigenvalues are divided by; of the Gram matrix of A the first is ‖A‖_F².
SCALINGS = {
    "polar_frobenius": np.sum,
    "spd_frobenius": np.linalg.norm,
    "schatten": lambda v: np.linalg.norm(v**2) ** 0.5,
}
# (p, degree) and the scalings that each is run with.
RUNS = [
    (1, 2, ("spd_frobenius",)),
    (2, 1, ("polar_frobenius", "schatten")),
    (2, 2, ("polar_frobenius", "schatten")),
    (4, 1, ("spd_frobenius",)),
    (4, 2, ("spd_frobenius",)),
]


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


def trajectory(values: np.ndarray, p: int, degree: int, scaling: str, rule: str) -> dict[str, list[float]]:
    M = (values / SCALINGS[scaling](values))[:, None, None]
    sketch = np.ones((1, 1)) if rule == "prism" else None
    alphas, residuals = [], []
    for _ in range(STEPS):
        g, alpha = step_polynomial(1 - M, sketch, p, degree)
        M = M * g**p
        alphas.append(round(alpha, 6))
        residuals.append(float(f"{np.square(1 - M).mean() ** 0.5:.7g}"))
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
