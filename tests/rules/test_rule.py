"""The contract of a rule, held by all of them."""

import pytest
import torch

from prism_compile._interface.options import options_for
from prism_compile._iteration.basis import Coefficients
from prism_compile._iteration.loop import iterate
from prism_compile._iteration.rule import StepInfo, frozen
from prism_compile._planning import SpectrumForm
from prism_compile._polar import PolarForm
from prism_compile._rules import RULES

from ..matrices import F64, gaussian, log_spaced

EACH = pytest.mark.parametrize("name", RULES)


def options(name: str, steps: int = 4, scaling: str | None = None, history: bool = False):
    return options_for(2, steps, 2, name, scaling, 8, 0, "unrolled", history)


def run(name: str, A: torch.Tensor, **settings):
    return iterate(PolarForm(False, frozenset(range(4))), A, options(name, **settings))


def test_rules_are_known_by_their_own_names():
    assert all(rule.name == name for name, rule in RULES.items())
    assert next(iter(RULES)) == "prism"


@EACH
def test_what_is_free_completes_to_the_coefficients(name):
    """What the dual gradient keeps of a run is enough to take it again."""
    _, record = run(name, gaussian(3, 20, 12))
    for step, chosen in enumerate(record.coefficients):
        free = [number for number in chosen if isinstance(number, torch.Tensor)]
        assert len(free) == RULES[name].free_count
        assert all(number.shape == (3, 1, 1) and number.dtype == F64 for number in free)
        assert all(map(torch.equal, *_as_tensors(RULES[name].complete(_info(step), *free), chosen)))


def _info(step: int) -> StepInfo:
    return StepInfo(step, 4, 2, 2, F64)


def _as_tensors(*coefficients: Coefficients) -> list[list[torch.Tensor]]:
    return [[torch.as_tensor(number, dtype=F64) for number in each] for each in coefficients]


@EACH
@pytest.mark.parametrize("scaling", ["schatten", "frobenius"])
def test_a_frozen_rule_repeats_the_run(name, scaling):
    A = gaussian(2, 20, 12)
    (first,), record = run(name, A, scaling=scaling)
    again = options(name, scaling=scaling)._replace(rule=frozen(RULES[name], record.coefficients))
    (second,), _ = iterate(PolarForm(False, frozenset(range(4))), A, again)
    # The same matrices, whose coefficients are not read from them again.
    assert torch.equal(first, second)


@EACH
def test_no_step_exceeds_the_growth_it_declares(name):
    """The Gram form's segments are as long as `growth` says that they may be."""
    spectra = log_spaced(12, 1e6), log_spaced(12, 10.0), 0.5 + gaussian(12).abs()
    _, record = run(name, torch.stack([torch.diag(values) for values in spectra]))
    shift = RULES[name].shift(2) or 0.0
    for step, chosen in enumerate(record.coefficients):
        g0, g1, g2 = (torch.as_tensor(number, dtype=F64) for number in chosen)
        assert (g0 + g1 + g2 * (1 - shift)).max() <= RULES[name].growth(_info(step)) * (1 + 1e-12)


@EACH
def test_history_is_of_the_state_and_not_of_what_is_carried(name):
    """The residuals of the values themselves, which a rule may carry divided by a bound."""
    values = log_spaced(40, 1e4)[None, None]
    steps, residuals = 4, []
    for count in range(1, steps + 1):
        results, record = iterate(SpectrumForm(2), values, options(name, steps=count, history=True))
        assert record.history[0].shape == (1, count + 1)
        assert record.history[1].shape == (1, count)
        left = (1 - results[0]).square().mean().sqrt()
        torch.testing.assert_close(record.history[0][0, -1], left)
        residuals.append(record.history[0][0])
    if not RULES[name].plans:
        # The history of a shorter run is the beginning of a longer one's.
        for shorter in residuals:
            torch.testing.assert_close(shorter, residuals[-1][: len(shorter)], atol=1e-13, rtol=0)
