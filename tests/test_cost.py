"""The documented costs in matrix products, counted by torch's FlopCounterMode."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import prism_compile as pc

from .functions import FUNCTIONS
from .matrices import gaussian

N = 64


def flops(function, A, **options) -> int:
    with FlopCounterMode(display=False) as counter:
        function(A, **options)
    return counter.get_total_flops()


def products(name: str, steps: int, degree: int = 2, **options) -> float:
    """n×n×n products of a run with fixed coefficients, which has no skinny products."""
    own = {"steps": steps, "degree": degree, "rule": "taylor"}
    return flops(getattr(pc, name), torch.eye(N), **own, **options) / (2 * N**3)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_products_of_square_functions(k):
    assert products("signm", k) == products("inv", k) == products("polar", k) == 3 * k
    assert products("signm", k, 1) == products("inv", k, 1) == 2 * k + 1
    assert products("signm", k, 1, scaling="frobenius") == 2 * k
    assert (products("sqrtm_pair", k), products("sqrtm_pair", k, 1)) == (4 * k - 2, 3 * k - 1)
    assert (products("inv_sqrtm", k), products("inv_sqrtm", k, 1)) == (4 * k - 3, 3 * k - 2)
    assert (products("sqrtm", k), products("sqrtm", k, 1)) == ((4 * k - 3, 3 * k - 2) if k > 1 else (2, 2))
    for p in (1, 2, 3, 4, 6, 8):
        squarings = (p & -p).bit_length() - 1
        raised = min(p, squarings + (p >> squarings))
        assert products("inv_root", k, p=p) == k * (2 + raised) - raised - 1


@pytest.mark.parametrize("newton_steps", [1, 3])
def test_products_of_newton_steps(newton_steps):
    """Beside the inverses, which the counter does not know; the first residual is there with them."""

    def alone_and_with_two_more(name: str) -> tuple[float, float]:
        return tuple(products(name, newton_steps + more, newton_steps=newton_steps) for more in (0, 2))

    for name in ("polar", "signm"):
        assert alone_and_with_two_more(name) == (newton_steps + 1, newton_steps + 1 + 2 + 3)
    pair = 2 * newton_steps - 2
    assert alone_and_with_two_more("sqrtm_pair") == (pair, pair + 3 + 4)
    for name in ("sqrtm", "inv_sqrtm"):
        assert alone_and_with_two_more(name) == (max(pair - 1, 0), pair + 3 + 3)


@pytest.mark.parametrize("steps", [2, 5, 7])
def test_polar_of_rectangles(steps):
    m, n, low = 128, 32, 48
    A = gaussian(m, n).float()
    for tall in (A, A.T):
        direct = {"rule": "taylor", "form": "direct", "steps": steps}
        assert flops(pc.polar, tall, **direct) == steps * (4 * m * n**2 + 2 * n**3)
        assert flops(pc.polar, tall, degree=1, **direct) == steps * 4 * m * n**2 + 2 * n**3
    # Of the Gram form a segment of all steps but the last, and that step: two tall products each.
    gram = 8 * n**2, (4 * steps - 6) * 2 * n**3
    assert flops(pc.polar, A, steps=steps, rule="taylor") == gram[0] * m + gram[1]
    assert flops(pc.polar, A[:low], steps=steps, rule="taylor") == steps * (4 * low * n**2 + 2 * n**3)
    assert flops(pc.polar, A[:low], steps=steps, rule="taylor", form="gram") == gram[0] * low + gram[1]


def test_what_rules_and_histories_add():
    q, A = 8, torch.eye(N)
    # The first call of a process makes the default's tables.
    pc.polar(A, steps=4)
    fixed = flops(pc.polar, A, steps=4, rule="taylor")
    assert flops(pc.polar, A, steps=4) == fixed
    # Three products of 2q rows: [S; S R] from [0; S] and R, then [S R²; S R³] and [S R⁴; S R⁵];
    # the inner products are sums.
    assert flops(pc.polar, A, steps=4, rule="prism") - fixed == 4 * 2 * (3 * 2 * q * N**2)
    # What measuring a result takes.
    measuring = {"sqrtm": 1, "polar": 2, "polar_factors": 2, "sqrtm_pair": 4, "inv_root": 6}
    for name, function in FUNCTIONS.items():
        extra = flops(function, A, steps=4, history=True) - flops(function, A, steps=4)
        assert extra == measuring.get(name, 3) * 2 * N**3, name
