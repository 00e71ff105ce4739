"""The loop: what it hands to a form and a rule, and what it leaves."""

from dataclasses import dataclass

import pytest
import torch

from prism_compile._interface.options import options_for
from prism_compile._inverse_root import RootForm
from prism_compile._iteration.basis import Coefficients
from prism_compile._iteration.loop import iterate
from prism_compile._iteration.rule import Rule
from prism_compile._rules import RULES

from ..matrices import F64, spd

A = spd(8, 10.0)[None]


def options(rule: Rule, degree: int = 2, **others):
    made = options_for(RootForm, p=2, steps=4, degree=degree, rule="prism", history=True)
    return made._replace(rule=rule, **others)


class Watched(RootForm):
    """Notes what it is asked for."""

    def __init__(self, made):
        super().__init__(A, made)
        self.steps: list[tuple[int, bool]] = []
        self.residuals = 0

    def residual(self, state, identity):
        self.residuals += 1
        return super().residual(state, identity)

    def update(self, state, polynomial, last):
        self.steps.append((polynomial.step, last))
        return super().update(state, polynomial, last)


@pytest.mark.parametrize("history", [False, True])
def test_the_last_step_may_be_short(history):
    made = options(RULES["taylor"], history=history)
    form = Watched(made)
    iterate(form, A, made)
    assert form.steps == [(0, False), (1, False), (2, False), (3, True)]
    # The scaling makes the first, and the last is measured.
    assert form.residuals == 3


@dataclass(frozen=True)
class Noting(Rule):
    """The classical steps; it looks at those from `first` on, and notes what it is shown."""

    first: int = 0

    def looks(self, info):
        return info.step >= self.first

    def prepare(self, info, residual):
        return info.steps, residual.shape

    def coefficients(self, info, basis, prepared):
        seen.append((info, basis, prepared))
        return Coefficients(1.0, 0.5, 0.375 if info.degree == 2 else 0.0)


seen: list = []


@pytest.mark.parametrize("scaling", ["schatten", "frobenius"])
def test_a_rule_is_shown_its_step_and_the_square_where_it_looks(scaling):
    seen.clear()
    leaf = A.clone().requires_grad_()
    made = options(Noting("noting", "this test", first=2), sketch_size=3, seed=5, scaling=scaling)
    (result,), record = iterate(RootForm(A, made), leaf, made)
    for step, (info, basis, prepared) in enumerate(seen):
        assert (info.step, info.steps, info.p, info.dtype) == (step, 4, 2, F64)
        assert (info.sketch_size, info.seed, prepared) == (3, 5, (4, (1, 8, 8)))
        assert not basis.residual.requires_grad
        # The first square there is anyway, in Schatten scaling.
        assert (basis.squared is not None) == (step >= 2 or (step == 0 and scaling == "schatten"))
        if basis.squared is not None:
            assert not basis.squared.requires_grad
            # Of the first the bound divides M² and not R, with a rounding of 1/c² in each entry.
            torch.testing.assert_close(basis.squared, basis.residual @ basis.residual, rtol=0, atol=1e-14)
    assert len(seen) == 4
    assert result.requires_grad
    assert record.coefficients == [Coefficients(1.0, 0.5, 0.375)] * 4
    assert torch.equal(record.history[1], torch.full((1, 4), 0.375, dtype=F64))


def test_cubic_steps_have_no_square():
    seen.clear()
    made = options(Noting("noting", "this test"), degree=1)
    iterate(RootForm(A, made), A, made)
    assert [basis.squared for _, basis, _ in seen] == [None] * 4
