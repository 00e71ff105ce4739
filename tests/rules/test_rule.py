"""The contract of a rule, held by all of them."""

import pytest
import torch

from prism_compile._interface.options import options_for
from prism_compile._iteration.loop import iterate
from prism_compile._iteration.rule import frozen, step_info
from prism_compile._polar import PolarForm
from prism_compile._rules import RULES

from ..matrices import F64, gaussian, log_spaced

# Below eight steps "adaptive" chooses; of four the last two.
RUNS = pytest.mark.parametrize(("name", "steps"), [(name, steps) for name in RULES for steps in (4, 9)])


def options(name: str, steps: int, scaling: str | None = None):
    return options_for(PolarForm, steps=steps, rule=name, scaling=scaling, form="direct")


def run(name: str, A: torch.Tensor, steps: int, scaling: str | None = None):
    made = options(name, steps, scaling)
    return iterate(PolarForm(A, made), A, made)


def infos(name: str, steps: int) -> list:
    return [step_info(options(name, steps), step, F64, True) for step in range(steps)]


def test_rules_are_known_by_their_own_names():
    assert all(rule.name == name for name, rule in RULES.items())
    assert next(iter(RULES)) == "prism"


@RUNS
def test_what_is_free_completes_to_the_coefficients(name, steps):
    """What the dual gradient keeps of a run is enough to take it again."""
    rule = RULES[name]
    _, record = run(name, gaussian(3, 20, 12), steps)
    for info, chosen in zip(infos(name, steps), record.coefficients, strict=True):
        free = [number for number in chosen if isinstance(number, torch.Tensor)]
        assert len(free) == rule.free_count(info)
        # Only what looks at A depends on it.
        assert bool(free) == rule.looks(info)
        assert all(number.shape == (3, 1, 1) and number.dtype == F64 for number in free)
        for number, other in zip(rule.complete(info, *free), chosen):
            assert torch.equal(torch.as_tensor(number), torch.as_tensor(other))


@RUNS
@pytest.mark.parametrize("scaling", ["schatten", "frobenius"])
def test_a_frozen_rule_repeats_the_run(name, steps, scaling):
    A = gaussian(2, 20, 12)
    (first,), record = run(name, A, steps, scaling)
    again = options(name, steps, scaling)._replace(rule=frozen(RULES[name], record.coefficients))
    (second,), _ = iterate(PolarForm(A, again), A, again)
    # The same matrices, whose coefficients are not read from them again.
    assert torch.equal(first, second)


@RUNS
def test_no_step_exceeds_the_growth_it_declares(name, steps):
    """The Gram form's segments are as long as `growth` says that they may be."""
    spectra = log_spaced(12, 1e6), log_spaced(12, 10.0), 0.5 + gaussian(12).abs()
    _, record = run(name, torch.stack([torch.diag(values) for values in spectra]), steps)
    # The last two each end a segment, whatever their growth.
    for info, chosen in zip(infos(name, steps)[:-2], record.coefficients):
        g0, g1, g2 = (torch.as_tensor(number, dtype=F64) for number in chosen)
        assert (g0 + g1 + g2).max() <= RULES[name].growth(info) * (1 + 1e-12)
