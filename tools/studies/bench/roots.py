"""Roots, and Newton's steps: each way at its fewest steps within a target, against a decomposition."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

import prism_compile

from ..common import peers
from ..common.matrices import definite, log_spaced, with_singular_values
from ..common.oracles import eigh_power, eigh_sqrt_pair, orthogonality_error, relative_error, svd_polar
from ..common.progress import note
from ..common.rules import RULES
from ..common.tables import format_table, shape_of
from .core import CELLS, Bench, Method, Timed, compare, fewest_steps


@dataclass(frozen=True)
class Problem:
    """What is asked of which matrices, how exactly, by which ways.

    exact: by a decomposition, which is timed too. ways: options by name. peer: the order p of the coupled
    Newton iteration that stands beside.
    """

    name: str
    function: Callable[..., object]
    A: Tensor
    exact: Callable[[Tensor], object]
    target: float
    ways: dict[str, dict]
    bound: dict = field(default_factory=dict)
    peer: int | None = None
    compile: bool = True

    def quality(self) -> Callable[[object], float]:
        if self.function is prism_compile.polar:
            return orthogonality_error
        return partial(relative_error, exact=self.exact(self.A.cpu().double()))

    def rows(self, bench: Bench) -> list[tuple[str, ...]]:
        """A row for each way that reaches the target."""
        quality, methods = self.quality(), []
        for name, own in self.ways.items():
            options = {**self.bound, **own}
            steps = fewest_steps(self.function, self.A, quality, self.target, **options)
            if steps is not None:
                options["steps"] = steps
                methods.append(Method(name, self.function, options, self.compile))
        if self.peer:
            newton = partial(peers.coupled_newton_each, p=self.peer)
            methods.append(Method("coupled Newton", newton, compile=False, counted=False))
        by = "linalg.svd" if self.exact is svd_polar else "linalg.eigh"
        methods.append(Method(by, self.exact, compile=False, counted=False))
        found = compare(bench, self.A, methods)
        exact = next((timed for timed in found if timed.method.name == by), None)
        return [self._row(i, timed, exact, quality(timed.result)) for i, timed in enumerate(found)]

    def _row(self, place: int, timed: Timed, exact: Timed | None, error: float) -> tuple[str, ...]:
        what = f"{self.name} {shape_of(self.A.shape)} to {self.target:.0e}"
        over = "-" if exact in (timed, None) else f"{timed.over(exact):.2f}"
        return ("" if place else what, *timed.cells(), over, f"{error:.1e}")


def _rules(p: int) -> dict[str, dict]:
    chosen = [rule for rule in RULES if rule in ("adaptive", "minimax", "prism", "taylor")]
    return {rule: {"rule": rule} for rule in [*chosen, *(["polar_express"] if p == 2 else [])]}


def _root_problems(bench: Bench) -> list[Problem]:
    def of(n: int, batch: tuple[int, ...] = ()) -> Tensor:
        return definite(n, 1e4, batch).to(bench.device, torch.float32)

    fourth = partial(eigh_power, exponent=-0.25)
    sizes = (64, (4,)) if bench.quick else (128, (32,))
    root = Problem(
        "inv_root p=4", prism_compile.inv_root, of(*sizes), fourth, 1e-3, _rules(4), {"p": 4}, peer=4
    )
    if bench.quick:
        return [root]
    whiten = partial(eigh_power, exponent=-0.5)
    return [
        Problem("sqrtm_pair", prism_compile.sqrtm_pair, of(512), eigh_sqrt_pair, 1e-4, _rules(2)),
        root,
        Problem("inv_sqrtm", prism_compile.inv_sqrtm, of(256), whiten, 1e-3, _rules(2), peer=2),
    ]


# How many Newton steps are tried, the first of all.
_NEWTON = {"polynomials": 0, "1 Newton": 1, "2 Newton": 2, "6 Newton": 6}


def _newton_problems(bench: Bench) -> list[Problem]:
    """Float64, eager; conditions are A's own."""
    n, ways = 64 if bench.quick else 512, {name: {"newton_steps": count} for name, count in _NEWTON.items()}
    square_root = partial(eigh_power, exponent=0.5)
    made = []
    for condition in (1e4,) if bench.quick else (1e2, 1e4, 1e8, 1e12):
        A, name = definite(n, condition).to(bench.device), f"sqrtm, condition {condition:.0e},"
        made.append(Problem(name, prism_compile.sqrtm, A, square_root, 1e-6, ways, compile=False))
    for condition in (1e2,) if bench.quick else (1e1, 1e2, 1e4, 1e8):
        A, name = with_singular_values(log_spaced(n, condition)), f"polar, condition {condition:.0e},"
        made.append(
            Problem(name, prism_compile.polar, A.to(bench.device), svd_polar, 1e-6, ways, compile=False)
        )
    return made


def roots_tables(bench: Bench) -> list[str]:
    """The roots by each rule; then Newton's steps."""
    made = []
    titles = "roots, float32, condition 1e4", "Newton's steps, float64, eager"
    for title, problems in zip(titles, (_root_problems(bench), _newton_problems(bench))):
        rows = []
        for problem in problems:
            note(f"{title}: {problem.name}")
            rows += problem.rows(bench)
        made.append(format_table(("problem", *CELLS, "/exact", "error"), rows, title, left=(0, 1)))
    return made
