"""The documented costs in matrix products, counted by torch's FlopCounterMode."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import prism_compile as pc

from .functions import FUNCTIONS

N = 64


def flops(function, A, **options) -> int:
    with FlopCounterMode(display=False) as counter:
        function(A, **options)
    return counter.get_total_flops()


def products(function, steps: int, degree: int, **options) -> float:
    """n×n×n products of a run with fixed coefficients, which has no skinny products."""
    A = torch.eye(N)
    return flops(function, A, steps=steps, degree=degree, rule="taylor", **options) / (2 * N**3)


def root_products(steps: int, p: int) -> int:
    squarings = (p & -p).bit_length() - 1
    raised = min(p, squarings + (p >> squarings))
    return steps * (2 + raised) - raised - 1


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_products_of_square_functions(steps):
    assert (
        products(pc.signm, steps, 2)
        == products(pc.inv, steps, 2)
        == products(pc.polar, steps, 2)
        == 3 * steps
    )
    assert products(pc.signm, steps, 1) == products(pc.inv, steps, 1) == 2 * steps + 1
    assert products(pc.signm, steps, 1, scaling="frobenius") == 2 * steps
    assert products(pc.sqrtm_pair, steps, 2) == 4 * steps - 2
    assert products(pc.sqrtm_pair, steps, 1) == 3 * steps - 1
    assert products(pc.inv_sqrtm, steps, 2) == 4 * steps - 3
    assert products(pc.inv_sqrtm, steps, 1) == 3 * steps - 2
    assert products(pc.sqrtm, steps, 2) == (4 * steps - 3 if steps > 1 else 2)
    assert products(pc.sqrtm, steps, 1) == (3 * steps - 2 if steps > 1 else 2)
    for p in (1, 2, 3, 4, 6, 8):
        assert products(pc.inv_root, steps, 2, p=p) == root_products(steps, p)


@pytest.mark.parametrize("newton_steps", [1, 3])
def test_products_of_newton_steps(newton_steps):
    """Beside the inverses, which the counter does not know; the first residual is there with them."""
    first = {"newton_steps": newton_steps}
    alone, more = newton_steps, newton_steps + 2
    for function in (pc.polar, pc.signm):
        assert products(function, alone, 2, **first) == newton_steps + 1
        assert products(function, more, 2, **first) == newton_steps + 1 + 2 + 3
    assert products(pc.sqrtm_pair, alone, 2, **first) == 2 * newton_steps - 2
    assert products(pc.sqrtm_pair, more, 2, **first) == 2 * newton_steps - 2 + 3 + 4
    for function in (pc.sqrtm, pc.inv_sqrtm):
        assert products(function, alone, 2, **first) == max(2 * newton_steps - 3, 0)
        assert products(function, more, 2, **first) == 2 * newton_steps - 2 + 3 + 3


@pytest.mark.parametrize("shape", [(128, 32), (32, 128)])
def test_polar_flops_of_rectangles(shape):
    m, n = max(shape), min(shape)
    A = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    direct = {"rule": "taylor", "form": "direct"}
    assert flops(pc.polar, A, steps=3, **direct) == 3 * (4 * m * n**2 + 2 * n**3)
    assert flops(pc.polar, A, steps=3, degree=1, **direct) == 3 * 4 * m * n**2 + 2 * n**3


@pytest.mark.parametrize("steps", [2, 3, 5, 7])
def test_gram_form_costs_two_tall_products_a_segment(steps):
    m, n = 128, 32
    # One segment of all steps but the last, and that step: 4·steps - 3·segments of the n×n products.
    segments = min(steps, 2)
    expected = segments * 4 * m * n**2 + (4 * steps - 3 * segments) * 2 * n**3
    A = torch.randn(m, n, generator=torch.Generator().manual_seed(0))
    assert flops(pc.polar, A, steps=steps, rule="taylor") == expected
    assert flops(pc.polar, A[:48], steps=steps, rule="taylor") == steps * (4 * 48 * n**2 + 2 * n**3)
    assert flops(pc.polar, A[:48], steps=steps, rule="taylor", form="gram") == (
        segments * 4 * 48 * n**2 + (4 * steps - 3 * segments) * 2 * n**3
    )


def test_the_fit_adds_only_skinny_products():
    q, A = 8, torch.eye(N)
    extra = flops(pc.polar, A, steps=4, rule="prism") - flops(pc.polar, A, steps=4, rule="taylor")
    # Three products of 2q rows: [S; S R] from [0; S] and R, then [S R²; S R³] and [S R⁴; S R⁵];
    # the inner products are sums.
    assert extra == 4 * 2 * (3 * 2 * q * N**2)


@pytest.mark.parametrize("steps", [4, 10])
def test_the_choice_adds_no_product(steps):
    A = torch.eye(N)
    # The first call of a process makes the rule's tables.
    pc.polar(A, steps=steps)
    assert flops(pc.polar, A, steps=steps) == flops(pc.polar, A, steps=steps, rule="taylor")


MEASURING = {
    "polar": 2,
    "polar_factors": 2,
    "signm": 3,
    "sqrtm": 1,
    "inv_sqrtm": 3,
    "sqrtm_pair": 4,
    "inv_root": 6,
    "inv": 3,
}


@pytest.mark.parametrize(("name", "products"), MEASURING.items())
def test_history_costs_what_measuring_the_result_takes(name, products):
    A = torch.eye(N)
    extra = flops(FUNCTIONS[name], A, steps=4, history=True) - flops(FUNCTIONS[name], A, steps=4)
    assert extra == products * 2 * N**3
