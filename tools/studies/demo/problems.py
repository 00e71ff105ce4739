"""The demo's three comparisons: which matrices, which methods, and the exact answers."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import prism_compile

from .measure import HEADER, Method, Problem, format_table, measure, orthogonality_error

TOLERANCE = 1e-3
DAMPING = 1e-5
ROOT_ORDER = 4

# A variant is compiled per shape, rule and number of steps: more of them than torch allows by default.
_compile = partial(torch.compile, fullgraph=True, dynamic=False, recompile_limit=64)
_compiled_polar = _compile(prism_compile.polar)
_compiled_sqrtm = _compile(prism_compile.sqrtm)
_compiled_inv_root = _compile(prism_compile.inv_root)


def svd_polar(A: Tensor) -> Tensor:
    """The polar factor by the singular value decomposition."""
    U, _, Vh = torch.linalg.svd(A, full_matrices=False)
    return U @ Vh


def eigh_power(A: Tensor, exponent: float) -> Tensor:
    """A power of the damped matrix by the symmetric eigenvalue decomposition."""
    shift = DAMPING * A.diagonal().mean()
    eigenvalues, Q = torch.linalg.eigh(A + shift * torch.eye(len(A), dtype=A.dtype))
    # Rounding may take the lowest eigenvalue below the damping, even below zero.
    return (Q * eigenvalues.clamp(min=shift) ** exponent) @ Q.T


def damped_condition(A: Tensor) -> float:
    """Condition number of A + eps·tr(A)/n·I, in float64."""
    eigenvalues = torch.linalg.eigvalsh(A.double())
    damped = eigenvalues + DAMPING * eigenvalues.mean()
    return (damped[-1] / damped[0]).item()


def polar_table(matrices: dict[str, Tensor]) -> str:
    """Compare ways to orthogonalise; the first matrix is also run for longer."""
    rows = []
    for index, (name, A) in enumerate(matrices.items()):
        pairs = [("adaptive", 5), ("prism", 5), ("polar_express", 5), ("jordan", 5), ("taylor", 5)]
        if index == 0:
            pairs += [("adaptive", 8), ("prism", 8), ("polar_express", 8)]
        methods = [
            Method(
                rule,
                partial(_compiled_polar, steps=steps, rule=rule),
                partial(prism_compile.polar, steps=steps, rule=rule),
                steps,
            )
            for rule, steps in pairs
        ]
        methods.append(Method("linalg.svd", svd_polar))
        values = torch.linalg.svdvals(A.double())
        condition = (values[0] / values[-1]).item()
        problem = Problem(name, A, condition, svd_polar(A.double()))
        rows += measure(problem, methods, orthogonality_error)
    return format_table("polar: momentum matrices, float32", (*HEADER, "rms(1-σ)"), rows)


def _root_rows(
    name: str,
    A: Tensor,
    p: int,
    compiled: Callable[..., Tensor],
    eager: Callable[..., Tensor],
    exponent: float,
) -> list[tuple[str, ...]]:
    """Rows of one matrix: each rule at the steps that it needs, the classical one at the default's too."""
    condition = damped_condition(A)
    rules = ("adaptive", "prism", "taylor")
    plan = partial(prism_compile.steps_for, "inv_root", condition=condition, tol=TOLERANCE, p=p)
    needed = {rule: plan(rule=rule) for rule in rules}
    pairs = [*needed.items(), ("taylor", needed["adaptive"])]
    methods = [
        Method(
            rule,
            partial(compiled, steps=count, rule=rule, eps=DAMPING),
            partial(eager, steps=count, rule=rule, eps=DAMPING),
            count,
        )
        for rule, count in pairs
    ]
    methods.append(Method("linalg.eigh", partial(eigh_power, exponent=exponent)))
    problem = Problem(name, A, condition, eigh_power(A.double(), exponent))
    return measure(problem, methods)


def sqrtm_table(matrices: dict[str, Tensor]) -> str:
    """Compare ways to take a square root."""
    rows = []
    for name, A in matrices.items():
        rows += _root_rows(name, A, 2, _compiled_sqrtm, prism_compile.sqrtm, 0.5)
    return format_table(f"sqrtm, eps={DAMPING:.0e}: gradient covariances GGᵀ, float32", HEADER, rows)


def inv_root_table(matrices: dict[str, Tensor]) -> str:
    """Compare ways to take Shampoo's inverse fourth root."""
    rows = []
    compiled = partial(_compiled_inv_root, p=ROOT_ORDER)
    eager = partial(prism_compile.inv_root, p=ROOT_ORDER)
    for name, A in matrices.items():
        rows += _root_rows(name, A, ROOT_ORDER, compiled, eager, -1 / ROOT_ORDER)
    title = f"inv_root, p={ROOT_ORDER}, eps={DAMPING:.0e}: gradient covariances GGᵀ, float32"
    return format_table(title, HEADER, rows)
