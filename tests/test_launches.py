"""What a further step of a compiled function launches and compiles: the same kernels again, and few."""

from functools import partial

import pytest
import torch

import prism_compile as pc

from .functions import FUNCTIONS
from .matrices import spd

pytestmark = pytest.mark.usefixtures("one_thread")
A = spd(24, 10.0).float()


@pytest.fixture(autouse=True)
def fresh_dynamo():
    yield
    torch._dynamo.reset()


# Library calls and generated kernels of a step more than so many.
@pytest.mark.parametrize(
    ("function", "options", "steps", "library", "own"),
    [
        (pc.polar, {"rule": "prism"}, 3, 6, 2),
        (torch.ops.prism.polar, {"rule": "taylor"}, 3, 3, 0),
        # The last step is chosen, of three and four the last two; from eight on none.
        (pc.polar, {}, 3, 3, 4),
        (pc.polar, {}, 5, 3, 0),
        (pc.polar, {}, 8, 3, 0),
        (pc.polar, {"rule": "minimax"}, 3, 3, 0),
        (pc.inv_sqrtm, {"rule": "prism"}, 3, 7, 2),
        (pc.inv_root, {"rule": "prism", "p": 4}, 3, 10, 2),
        (pc.polar, {"rule": "taylor"}, 3, 3, 0),
        (pc.polar, {"rule": "polar_express"}, 3, 3, 0),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_further_step_launches_no_more_than(function, options, steps, library, own):
    from studies.common.counting import further_step

    step = further_step(function, A, steps=steps, **options)
    # No step goes without its products, two or more: the counter sees the code.
    assert 2 < step.library <= library
    assert step.own <= own
    assert step.sources == 0


# The other functions by their default rule, and the other rules.
@pytest.mark.parametrize(
    ("name", "rule"),
    [(name, None) for name in FUNCTIONS if name not in ("polar", "inv_sqrtm")]
    + [("polar", rule) for rule in ("jordan", "you")]
    + [("inv_sqrtm", "adaptive")],
)
def test_a_further_step_compiles_no_further_kernel(name, rule):
    from studies.common.counting import launches

    # Of four steps and fewer the default chooses two: a step before them is another kind of step.
    five, six = (launches(partial(FUNCTIONS[name], steps=n, rule=rule), A) for n in (5, 6))
    assert six.library > five.library
    assert six.sources == five.sources > 0


def test_the_counter_tells_kernels_apart():
    """A product, reductions and a scan: one call of a library, and kernels of its own."""
    from studies.common.counting import Launches, launches

    def run(A):
        B = A @ A
        B = B / B.sum(-1, keepdim=True).sum(-2, keepdim=True)
        return B.cumsum(0) + B.amax()

    found = launches(run, A)
    assert found.library == 1
    assert found.own >= found.sources >= 1
    assert found - found == Launches(0, 0, 0)
