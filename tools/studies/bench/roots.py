"""Roots, and Newton's steps: each way at its fewest steps within a target, against a decomposition."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

import prism_compile

from ..common import peers
from ..common.matrices import (
    definite,
    eigh_power,
    eigh_sqrt_pair,
    log_spaced,
    orthogonality_error,
    relative_error,
    svd_polar,
    with_singular_values,
)
from ..common.results import format_table, note, shape_of
from ..common.timing import ratio
from .core import CELLS, Bench, Method, compare

_MOST_STEPS = 30
_RULES = {rule: {"rule": rule} for rule in ("adaptive", "minimax", "prism", "taylor")}
_OF_SQUARE_ROOTS = {**_RULES, "polar_express": {"rule": "polar_express"}}
# How many Newton steps are tried, the first of all.
_NEWTON = {
    name: {"newton_steps": k} for name, k in (("polynomials", 0), *((f"{k} Newton", k) for k in (1, 2, 6)))
}


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

    def _within(self, quality: Callable[[object], float], options: dict) -> int | None:
        """The fewest steps whose result is within the target, run eagerly."""
        for steps in range(max(1, options.get("newton_steps", 0)), _MOST_STEPS + 1):
            if quality(self.function(self.A, steps=steps, **options)) <= self.target:
                return steps
        return None

    def rows(self, bench: Bench) -> list[tuple[str, ...]]:
        """A row for each way that reaches the target."""
        note(self.name)
        quality, by = orthogonality_error, "linalg.svd"
        if self.function is not prism_compile.polar:
            quality, by = partial(relative_error, exact=self.exact(self.A.cpu().double())), "linalg.eigh"
        methods = []
        for name, own in self.ways.items():
            options = {**self.bound, **own}
            if steps := self._within(quality, options):
                methods.append(Method(name, self.function, {**options, "steps": steps}, self.compile))
        if self.peer:
            newton = partial(peers.coupled_newton_each, p=self.peer)
            methods.append(Method("coupled Newton", newton, compile=False, counted=False))
        methods.append(Method(by, self.exact, compile=False, counted=False))
        found = compare(bench, self.A, methods)
        exact = next((timed.seconds for timed in found if timed.method.name == by), None)
        rows, what = [], f"{self.name} {shape_of(self.A.shape)} to {self.target:.0e}"
        for timed in found:
            over = "-" if exact in (timed.seconds, None) else f"{ratio(timed.seconds, exact):.2f}"
            rows.append(("" if rows else what, *timed.cells(), over, f"{quality(timed.result):.1e}"))
        return rows


def _roots(bench: Bench) -> list[Problem]:
    def of(n: int, batch: tuple[int, ...] = ()) -> Tensor:
        return definite(n, 1e4, batch).to(bench.device, torch.float32)

    fourth, whiten = (partial(eigh_power, exponent=exponent) for exponent in (-0.25, -0.5))
    A, options = of(64, (4,)) if bench.quick else of(128, (32,)), {"bound": {"p": 4}, "peer": 4}
    root = Problem("inv_root p=4", prism_compile.inv_root, A, fourth, 1e-3, _RULES, **options)
    if bench.quick:
        return [root]
    return [
        Problem("sqrtm_pair", prism_compile.sqrtm_pair, of(512), eigh_sqrt_pair, 1e-4, _OF_SQUARE_ROOTS),
        root,
        Problem("inv_sqrtm", prism_compile.inv_sqrtm, of(256), whiten, 1e-3, _OF_SQUARE_ROOTS, peer=2),
    ]


def _newton(bench: Bench) -> list[Problem]:
    """Float64, eager; conditions are A's own."""
    n, square_root = 64 if bench.quick else 512, partial(eigh_power, exponent=0.5)
    made = [
        ("sqrtm", prism_compile.sqrtm, square_root, condition, definite(n, condition))
        for condition in ((1e4,) if bench.quick else (1e2, 1e4, 1e8, 1e12))
    ] + [
        ("polar", prism_compile.polar, svd_polar, condition, with_singular_values(log_spaced(n, condition)))
        for condition in ((1e2,) if bench.quick else (1e1, 1e2, 1e4, 1e8))
    ]
    return [
        Problem(f"{name}, condition {k:.0e},", call, A.to(bench.device), exact, 1e-6, _NEWTON, compile=False)
        for name, call, exact, k, A in made
    ]


def roots_tables(bench: Bench) -> list[str]:
    """The roots by each rule; then Newton's steps."""
    titles = {"roots, float32, condition 1e4": _roots, "Newton's steps, float64, eager": _newton}
    header = ("problem", *CELLS, "/exact", "error")
    return [
        format_table(
            header, [row for problem in made(bench) for row in problem.rows(bench)], title, left=(0, 1)
        )
        for title, made in titles.items()
    ]
