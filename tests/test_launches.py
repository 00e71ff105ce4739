"""What a further step of a compiled function launches and compiles: the same kernels again, and few."""

import pytest

from studies.common.counting import Launches, further_step, launches

from .functions import FUNCTIONS, OPS
from .matrices import spd

pytestmark = pytest.mark.usefixtures("one_thread", "fresh_dynamo")
A = spd(24, 10.0).float()
CALLS = {**FUNCTIONS, "op": OPS["polar"]}


# Library calls and generated kernels of a step more than so many, of which none is a new one.
@pytest.mark.parametrize(
    ("name", "options", "steps", "library", "own"),
    [
        # The last step is chosen, of three and four the last two; from eight on none.
        ("polar", {}, 3, 3, 4),
        ("polar", {}, 5, 3, 0),
        ("polar", {}, 8, 3, 0),
        ("polar", {"rule": "minimax"}, 3, 3, 0),
        ("polar", {"rule": "polar_express"}, 3, 3, 0),
        ("polar", {"rule": "prism"}, 3, 6, 2),
        ("op", {"rule": "taylor"}, 3, 3, 0),
        ("inv_root", {"rule": "prism"}, 3, 9, 2),
        ("sqrtm_pair", {"rule": "minimax"}, 3, 4, 0),
        ("inv_root", {"rule": "minimax"}, 3, 5, 1),
        ("inv", {"rule": "minimax"}, 3, 3, 0),
    ],
    ids=str,
)
def test_a_further_step_launches_no_more_than(name, options, steps, library, own):
    step = further_step(CALLS[name], A, steps=steps, **options)
    # No step goes without its products, two or more: the counter sees the code.
    assert 2 < step.library <= library
    assert step.own <= own
    assert step.sources == 0


def test_the_counter_tells_kernels_apart():
    """A product, reductions and a scan: one call of a library, and kernels of its own."""

    def run(A):
        B = A @ A
        B = B / B.sum(-1, keepdim=True).sum(-2, keepdim=True)
        return B.cumsum(0) + B.amax()

    found = launches(run, A)
    assert found.library == 1
    assert found.own >= found.sources >= 1
    assert found - found == Launches(0, 0, 0)
