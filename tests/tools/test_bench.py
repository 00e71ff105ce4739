"""The benchmark's own parts: the peers compute what they should, and the floor is all of the products."""

from functools import partial

import pytest
import torch

import prism_compile as pc
from studies.bench import core, costs, roots
from studies.bench.__main__ import PARTS, main
from studies.bench.core import product_floor, recorded_products
from studies.common import peers
from studies.common.counting import flops
from studies.common.timing import Clock, Spread, of_rounds, ratio, time_in_turns

from ..matrices import gaussian, spd


def by_singular_values(A, quintics, margin, steps):
    """The polynomials applied to the singular values in float64."""
    W, sigma, Vh = torch.linalg.svd(A.double(), full_matrices=False)
    x = sigma / (margin * torch.linalg.vector_norm(sigma, dim=-1, keepdim=True))
    for step in range(steps):
        a, b, c = quintics[min(step, len(quintics) - 1)]
        x = a * x + b * x**3 + c * x**5
    return (W * x.unsqueeze(-2)) @ Vh


# A step's slope is at most 8.3, and 3 to 4 thereafter: eight steps carry rounding up by less than 1e5.
@pytest.mark.parametrize("shape", [(48, 48), (96, 32), (3, 32, 96)])
@pytest.mark.parametrize(
    ("table", "rule", "steps"),
    [("Polar Express", "polar_express", 8), ("Jordan", "jordan", 5), ("You", "you", 5)],
)
def test_peers_apply_their_polynomials_which_the_library_has_too(shape, table, rule, steps):
    A = gaussian(*shape)
    exact = by_singular_values(A, *peers.TABLES[table], steps)
    for method in (peers.newton_schulz, peers.gram_newton_schulz):
        torch.testing.assert_close(method(A, table, steps), exact, atol=1e-8, rtol=0)
    # The peers add 1e-7 to the norm.
    torch.testing.assert_close(pc.polar(A, rule=rule, steps=steps), exact, atol=1e-6, rtol=0)


def test_torch_muon_leaves_its_argument():
    A = gaussian(32, 64).bfloat16()
    before = A.clone()
    U = peers.torch_muon(A)
    assert torch.equal(A, before)
    assert torch.linalg.svdvals(U.float()).sub(1).abs().max() < 0.5


@pytest.mark.parametrize("p", [2, 4])
def test_coupled_newton_stops_at_its_tolerance(p):
    A = spd(24, 1e3)
    X, steps = peers.coupled_newton(A, p)
    # The error at the stop is about that of M = Xᵖ A, at most 1e-6 an entry.
    assert (torch.linalg.matrix_power(X, p) @ A - torch.eye(24)).abs().max() < 1e-4
    assert 5 < steps < 40


@pytest.mark.parametrize("shape", [(40, 40), (96, 24), (4, 24, 48)])
def test_the_floor_has_every_product(shape):
    A = gaussian(*shape).float()
    products = recorded_products(lambda: pc.polar(A, steps=3, rule="taylor"), A)
    assert flops(product_floor(products, A)) == flops(lambda: pc.polar(A, steps=3, rule="taylor"))
    # The fit's products are skinny, and none of the floor's.
    assert recorded_products(lambda: pc.polar(A, steps=3, rule="prism"), A) == products


def test_runs_are_timed_equally_often():
    calls = []
    runs = {name: partial(calls.append, name) for name in ("one", "two")}
    times = time_in_turns(runs, Clock(torch.device("cpu")), of_rounds(7))
    assert [len(each) for each in times.values()] == [7, 7]
    assert calls.count("one") == calls.count("two") == 8
    assert ratio([2.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == Spread(2.0, 2.0, 2.5)


def test_every_part_runs(one_thread, folders, capsys, monkeypatch):
    """Without graphs, and without the processes that compile."""
    for module in (core, costs):
        monkeypatch.setattr(module, "compiled", lambda function, **options: partial(function, **options))
    monkeypatch.setattr(costs, "_child", lambda *words: (1.0, 2.0, 4.0, 5.0))
    monkeypatch.setattr(roots, "_NEWTON", {"6 Newton": {"newton_steps": 6}})
    for part in PARTS:
        main(["--quick", "--threads", "1", "--only", part])
        assert (folders / "out" / f"bench-{part}.txt").exists()
    lines = capsys.readouterr().out.splitlines()
    (ratios,) = (line.split() for line in lines if line.split()[:3] == ["256x256", "float32", "5"])
    assert float(ratios[3]) > 0.5
    named = {line.split("  ")[0] for line in lines}
    assert {"inv_root p=4 4x64x64 to 1e-03", "256x256 float32", "adaptive"} <= named
    # The two ways to differentiate differ by rounding in single precision.
    (dual,) = (line.split() for line in lines if line.split()[:1] == ["dual"])
    assert 0 < float(dual[-1]) < 1e-4
    # X, its Gram matrix, W and the next X at the least.
    for name, least, most in (("taylor", 3, 12), (costs.PEER, 2, 8)):
        *seconds, held = costs.costs(name, 3, "cpu", n=64)
        assert min(seconds) > 0
        assert least <= held < most
