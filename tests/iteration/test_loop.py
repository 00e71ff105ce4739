"""The loop: what it hands to a form and a rule, and what it leaves."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from prism_compile._interface.options import options_for
from prism_compile._inverse_root import RootForm
from prism_compile._iteration.basis import Coefficients
from prism_compile._iteration.loop import iterate
from prism_compile._iteration.rule import Rule
from prism_compile._planning import SpectrumForm
from prism_compile._rules import RULES
from prism_compile._rules.taylor import taylor_coefficients

from ..matrices import F64, log_spaced, spd, with_eigenvalues
from .probing import signs

VALUES = log_spaced(30, 1e3)


def options(rule: Rule, p: int = 2, steps: int = 4, scaling: str = "schatten", **others):
    made = options_for(p, steps, 2, "prism", scaling, 8, 0, "unrolled", True)
    return made._replace(rule=rule, **others)


@dataclass(frozen=True)
class Carried(Rule):
    """The classical steps of a state that the loop carries over u = 1 + step/4, to be undone by the last."""

    stretch: float = 0.25

    def start(self, residual: torch.Tensor) -> torch.Tensor:
        return residual.new_ones(residual.shape[0], 1, 1)

    def coefficients(self, info, probe, carry: Any, prepared: Any) -> tuple[Coefficients, Any]:
        _, c1, c2 = taylor_coefficients(info.p, 2)
        u, p = carry, info.p
        after = torch.ones_like(u) if info.step == info.steps - 1 else u + self.stretch
        # R of the state itself is (1 - uᵖ) I + uᵖ R'; x/u goes to x g(R)/after.
        e, f = 1 - u**p, u**p
        scale = u / after
        g = (1 + c1 * e + c2 * e * e, f * (c1 + 2 * c2 * e), c2 * f * f)
        return Coefficients(*(scale * a for a in g)), after

    def shift(self, degree):
        return 0.0

    def bound(self, carry: Any, p: int) -> torch.Tensor:
        return carry**p


@pytest.mark.parametrize("p", [1, 2, 3])
def test_a_state_over_a_bound_is_the_state(p):
    A = with_eigenvalues(VALUES)[None]
    (expected,), reference = iterate(RootForm(p), A, options(RULES["taylor"], p))
    (result,), record = iterate(RootForm(p), A, options(Carried("carried", "this test"), p))
    torch.testing.assert_close(result, expected, atol=1e-12, rtol=1e-12)
    # The history is of the state itself, before each step and after the last.
    torch.testing.assert_close(record.history[0], reference.history[0], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", ["prism", "taylor"])
@pytest.mark.parametrize("scaling", ["schatten", "frobenius"])
@pytest.mark.parametrize("p", [1, 2, 4])
def test_a_known_spectrum_runs_as_its_diagonal_matrix(name, scaling, p):
    # The moments of the spectrum are exact, those of a diagonal matrix under signs too.
    made = options(RULES[name], p, scaling=scaling)
    _, record = iterate(RootForm(p), torch.diag(VALUES)[None], made)
    _, known = iterate(SpectrumForm(p), VALUES[None, None], made)
    torch.testing.assert_close(known.history[0], record.history[0], atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(known.history[1], record.history[1], atol=1e-8, rtol=1e-8)


class Watched(RootForm):
    """Notes what it is asked for."""

    def __init__(self, p: int):
        super().__init__(p)
        self.steps: list[tuple[int, bool]] = []
        self.residuals = 0

    def residual(self, state, identity):
        self.residuals += 1
        return super().residual(state, identity)

    def update(self, state, polynomial, last):
        self.steps.append((polynomial.step, last))
        return super().update(state, polynomial, last)


@pytest.mark.parametrize("reads_state", [False, True])
@pytest.mark.parametrize("history", [False, True])
def test_the_last_step_may_be_short_unless_its_state_is_wanted(history, reads_state):
    form = Watched(2)
    form.reads_state = reads_state
    iterate(form, spd(8, 10.0)[None], options(RULES["taylor"], history=history))
    assert form.steps == [(0, False), (1, False), (2, False), (3, not (history and reads_state))]
    # The scaling makes the first, and the last is measured.
    assert form.residuals == 3


def test_a_rule_that_probes_sees_its_steps_and_what_it_carried():
    seen = []

    @dataclass(frozen=True)
    class Noting(Rule):
        probes = True

        def shift(self, degree):
            return 0.0

        def prepare(self, info, residual):
            return "prepared"

        def start(self, residual):
            return 10

        def coefficients(self, info, probe, carry, prepared):
            seen.append((info.step, info.steps, info.p, info.dtype, carry, prepared))
            blocks.append(probe.powers(4)[0])
            assert not probe.basis.residual.requires_grad
            assert not probe.basis.quadratic.requires_grad
            return Coefficients(1.0, 0.5, 0.375), carry + 1

    blocks: list[torch.Tensor] = []
    A = spd(8, 10.0)[None].requires_grad_()
    (result,), record = iterate(RootForm(2), A, options(Noting("noting", "this test"), sketch_size=3))
    assert seen == [(k, 4, 2, F64, 10 + k, "prepared") for k in range(4)]
    assert all(torch.equal(block[0], S) for block, S in zip(blocks, signs(8, 3, 4, 0)))
    assert len(blocks) == 4
    assert result.requires_grad
    assert record.coefficients == [Coefficients(1.0, 0.5, 0.375)] * 4
    assert torch.equal(record.history[1], torch.full((1, 4), 0.375, dtype=F64))
