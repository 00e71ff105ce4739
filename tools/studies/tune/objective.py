"""What the fitted numbers of the rule "adaptive" are judged by: two objectives, the less the better.

Both run the library's own iterations in float32 on the matrices of `spectra.py`.

Polar factor, the mean over K = 3 … 8 steps, e = rms(1 - σ) of the result:

    0.6 · mean e / mean e of "prism"
    + 0.4 · geometric mean of (e + 0.003) / (e of "prism" + 0.003)
    + 0.5 · mean log⁺ e / (1.02 · least e of "prism", "polar_express", "jordan", "you" + 0.002)

and, so that no value is raised at the cost of a low-rank matrix's true part, the mean over K = 5, 6, 7 of

    0.15 · mean log10⁺ of (error in the row space of an exactly low-rank matrix / 2e-3).

Roots: the geometric mean of the last residual of A^(-1/p), no less than 5e-4, over p = 1, 3, 4, 8 and
K = 3 … 7, the conditions of A from 1e1 to 1e6, over the same of "prism"; and, for one step fewer than "prism"
needs to 1e-3, the mean over p = 1, 2, 3, 4, 8 and conditions from 1e2 to 1e6 of

    log10⁺ of (the residual of a known log-uniform spectrum / 1e-3).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import log10

import torch
from torch import Tensor

from prism_compile._interface.options import Options
from prism_compile._inverse_root import RootForm
from prism_compile._iteration.form import Form
from prism_compile._iteration.loop import Record, iterate
from prism_compile._planning import _residuals as run_residuals
from prism_compile._planning import steps_for
from prism_compile._polar import PolarForm
from prism_compile._rules import RULES, Rule
from prism_compile._rules.adaptive import rule as adaptive
from prism_compile._rules.adaptive.schedule import Fitted

from ..common.oracles import deviations
from .spectra import low_rank_spectra, matrices, positive_spectra, training_spectra

POLAR_STEPS = (3, 4, 5, 6, 7, 8)
_LOW_RANK_STEPS = (5, 6, 7)
_ROOT_STEPS = (3, 4, 5, 6, 7)
_ORDERS = (1, 3, 4, 8)
_CONDITIONS = (1e2, 1e3, 1e4, 1e5, 1e6)
_TOLERANCE = 1e-3
_REFERENCE = "prism"
_PEERS = (_REFERENCE, "polar_express", "jordan", "you")
# What counts as nothing: of an error, of one beside the peers', of a low-rank one, of a residual.
_OFFSET, _MISS, _EXACT, _FLOOR = 0.003, 0.002, 2e-3, 5e-4
_FACTOR = 1.02
# In place of a residual that is none: that of a run that has diverged.
_DIVERGED = 1e3


class _CarriedForm(RootForm):
    """The residual that is carried is judged to the last: what rounding adds is no choice of the rule's."""

    reads_state = True
    last_residual = Form.last_residual


@contextmanager
def _tables_unkept() -> Iterator[None]:
    """Make the rule's tables of scores anew each time: a search would keep megabytes for every trial."""
    kept = adaptive.scores
    adaptive.scores = lambda like, *arguments: kept.make(*arguments)
    try:
        yield
    finally:
        adaptive.scores = kept


def _run(form: Form, A: Tensor, rule: Rule, p: int, steps: int) -> tuple[Tensor, Record]:
    options = Options(p, steps, 2, rule, rule.scaling, 8, 0, "unrolled", p != 2, "direct")
    with torch.no_grad(), _tables_unkept():
        results, record = iterate(form, A, options)
    return results[0], record


def _polar(A: Tensor, rule: Rule, steps: int) -> Tensor:
    return _run(PolarForm(wide=False, ends=frozenset(range(steps))), A, rule, 2, steps)[0]


def _rule(fitted: Fitted) -> Rule:
    return adaptive.AdaptiveRule(adaptive.RULE.name, adaptive.RULE.source, fitted=fitted)


class PolarObjective:
    """Of hidden and short."""

    def __init__(self, members: int = 16, low_rank: int = 64, n: int = 64, seed: int = 0):
        A, _, _ = matrices(training_spectra(members, n, seed), symmetric=False, seed=seed)
        self.A = torch.from_numpy(A).float()
        spectra, ranks = low_rank_spectra(low_rank, n, seed)
        A, left, right = matrices(spectra, symmetric=False, seed=seed + 1)
        self.low_rank, self.ranks = torch.from_numpy(A).float(), torch.from_numpy(ranks)
        # The vectors of the true part; what lies beside it is nobody's.
        true = (torch.arange(n) < self.ranks[:, None])[:, None, :]
        self.left, self.right = (torch.from_numpy(vectors).float() * true for vectors in (left, right))
        self.peers = {
            steps: torch.stack([self.errors(RULES[name], steps) for name in _PEERS]) for steps in POLAR_STEPS
        }

    def errors(self, rule: Rule, steps: int) -> Tensor:
        """rms(1 - σ) of each result."""
        return deviations(torch.linalg.svdvals(_polar(self.A, rule, steps)))

    def low_rank_errors(self, rule: Rule, steps: int) -> Tensor:
        """Of each low-rank matrix ‖(U - W Vᵀ) V‖_F / √r, V and W the vectors of its r nonzero values."""
        U = _polar(self.low_rank, rule, steps)
        difference = torch.linalg.matrix_norm(torch.bmm(U, self.right) - self.left)
        return difference.double() / self.ranks.sqrt()

    def __call__(self, fitted: Fitted) -> float:
        rule = _rule(fitted)
        terms = [self._of_errors(self.errors(rule, steps), self.peers[steps]) for steps in POLAR_STEPS]
        low_rank = [
            (self.low_rank_errors(rule, steps) / _EXACT).log10().clamp(min=0).mean()
            for steps in _LOW_RANK_STEPS
        ]
        return (torch.stack(terms).mean() + 0.15 * torch.stack(low_rank).mean()).item()

    def _of_errors(self, e: Tensor, peers: Tensor) -> Tensor:
        reference, best = peers[_PEERS.index(_REFERENCE)], peers.amin(0)
        ratio = e.mean() / reference.mean()
        geometric = ((e + _OFFSET) / (reference + _OFFSET)).log().mean().exp()
        missed = (e / (_FACTOR * best + _MISS)).log().clamp(min=0).mean()
        return 0.6 * ratio + 0.4 * geometric + 0.5 * missed


def _reference_steps(condition: float, p: int) -> int:
    return steps_for("inv_root", condition=condition, tol=_TOLERANCE, p=p, rule=_REFERENCE)


class RootObjective:
    """Of focus and slope."""

    def __init__(self, members: int = 3, n: int = 48, seed: int = 0):
        A, _, _ = matrices(positive_spectra(members, n, seed)[0], symmetric=True, seed=seed)
        self.A = torch.from_numpy(A + A.swapaxes(-1, -2)).float() / 2
        self.reference = self.mean_residual(RULES[_REFERENCE])
        self.fewer = [
            (condition, p, _reference_steps(condition, p) - 1)
            for condition in _CONDITIONS
            for p in sorted({2, *_ORDERS})
        ]

    def mean_residual(self, rule: Rule) -> float:
        """Geometric mean of the last residuals on the training spectra."""
        runs = (_run(_CarriedForm(p), self.A, rule, p, steps)[1] for p in _ORDERS for steps in _ROOT_STEPS)
        residuals = torch.stack([record.history[0][:, -1] for record in runs]).double()
        residuals = residuals.nan_to_num(_DIVERGED, _DIVERGED).clamp(min=_FLOOR, max=_DIVERGED)
        return residuals.log().mean().exp().item()

    def excess(self, rule: Rule) -> float:
        """How far, in decades, one step fewer misses the tolerance on known spectra."""
        with _tables_unkept():
            last = [run_residuals(c, rule, steps, p, 2)[steps] for c, p, steps in self.fewer]
        return sum(max(log10(residual / _TOLERANCE), 0.0) for residual in last) / len(last)

    def __call__(self, fitted: Fitted) -> float:
        rule = _rule(fitted)
        return self.mean_residual(rule) / self.reference + self.excess(rule)
