"""The demo's three comparisons: which matrices, which methods, and the exact answers."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import prism_compile

from ..common.compiling import compiled
from ..common.oracles import eigh_power, orthogonality_error, svd_polar
from ..common.tables import format_table
from .measure import HEADER, Method, Problem, measure

TOLERANCE = 1e-3
DAMPING = 1e-5
ROOT_ORDER = 4


def damped_condition(A: Tensor) -> float:
    """Condition number of A + eps·tr(A)/n·I, in float64."""
    eigenvalues = torch.linalg.eigvalsh(A.double())
    damped = eigenvalues + DAMPING * eigenvalues.mean()
    return (damped[-1] / damped[0]).item()


def _method(function: Callable[..., Tensor], rule: str, steps: int, quick: bool, **options) -> Method:
    eager = partial(function, steps=steps, rule=rule, **options)
    return Method(rule, eager if quick else compiled(eager), eager, steps)


def _rounds(quick: bool) -> int:
    return 3 if quick else 21


def _table(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return format_table(header, rows, title, left=(0, 1, 3))


def polar_table(matrices: dict[str, Tensor], quick: bool) -> str:
    """Compare ways to orthogonalise; the first matrix is also run for longer."""
    rows = []
    for index, (name, A) in enumerate(matrices.items()):
        pairs = [("adaptive", 5), ("prism", 5), ("polar_express", 5), ("jordan", 5), ("taylor", 5)]
        if index == 0:
            pairs += [("adaptive", 8), ("prism", 8), ("polar_express", 8)]
        methods = [_method(prism_compile.polar, rule, steps, quick) for rule, steps in pairs]
        methods.append(Method("linalg.svd", svd_polar))
        values = torch.linalg.svdvals(A.double())
        condition = (values[0] / values[-1]).item()
        problem = Problem(name, A, condition, svd_polar(A.double()))
        rows += measure(problem, methods, _rounds(quick), orthogonality_error)
    return _table("polar: momentum matrices, float32", (*HEADER, "rms(1-σ)"), rows)


def _root_rows(
    name: str, A: Tensor, p: int, function: Callable[..., Tensor], exponent: float, quick: bool
) -> list[tuple[str, ...]]:
    """Rows of one matrix: each rule at the steps that it needs, the classical one at the default's too."""
    condition = damped_condition(A)
    rules = ("adaptive", "prism", "taylor")
    plan = partial(prism_compile.steps_for, "inv_root", condition=condition, tol=TOLERANCE, p=p)
    needed = {rule: plan(rule=rule) for rule in rules}
    pairs = [*needed.items(), ("taylor", needed["adaptive"])]
    methods = [_method(function, rule, steps, quick, eps=DAMPING) for rule, steps in pairs]
    decomposed = partial(eigh_power, exponent=exponent, eps=DAMPING)
    methods.append(Method("linalg.eigh", decomposed))
    return measure(Problem(name, A, condition, decomposed(A.double())), methods, _rounds(quick))


def sqrtm_table(matrices: dict[str, Tensor], quick: bool) -> str:
    """Compare ways to take a square root."""
    rows = []
    for name, A in matrices.items():
        rows += _root_rows(name, A, 2, prism_compile.sqrtm, 0.5, quick)
    return _table(f"sqrtm, eps={DAMPING:.0e}: gradient covariances GGᵀ, float32", HEADER, rows)


def inv_root_table(matrices: dict[str, Tensor], quick: bool) -> str:
    """Compare ways to take Shampoo's inverse fourth root."""
    rows = []
    root = partial(prism_compile.inv_root, p=ROOT_ORDER)
    for name, A in matrices.items():
        rows += _root_rows(name, A, ROOT_ORDER, root, -1 / ROOT_ORDER, quick)
    title = f"inv_root, p={ROOT_ORDER}, eps={DAMPING:.0e}: gradient covariances GGᵀ, float32"
    return _table(title, HEADER, rows)
