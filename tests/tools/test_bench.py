"""The benchmark's own parts: the peers compute what they should, and the floor is all of the products."""

from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import prism_compile as pc
from studies.bench import core, costs
from studies.bench.__main__ import PARTS, main
from studies.bench.core import product_floor, recorded_products
from studies.common import peers
from studies.common.timing import Clock, Spread, of_rounds, ratio, time_in_turns


def flops(run) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


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
@pytest.mark.parametrize(("table", "steps"), [("Polar Express", 8), ("Jordan", 5), ("You", 5)])
def test_peers_apply_their_polynomials(shape, table, steps):
    A = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = by_singular_values(A, *peers.TABLES[table], steps)
    for method in (peers.newton_schulz, peers.gram_newton_schulz):
        torch.testing.assert_close(method(A, table, steps), exact, atol=1e-8, rtol=0)


def test_torch_muon_leaves_its_argument():
    A = torch.randn(32, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    before = A.clone()
    U = peers.torch_muon(A)
    assert torch.equal(A, before)
    assert torch.linalg.svdvals(U.float()).sub(1).abs().max() < 0.5


@pytest.mark.parametrize(
    ("table", "rule"), [("Polar Express", "polar_express"), ("Jordan", "jordan"), ("You", "you")]
)
def test_the_library_has_the_published_tables(table, rule):
    A = torch.randn(24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    # Float64 carries the same polynomials, in another order of operations.
    torch.testing.assert_close(
        pc.polar(A, rule=rule, steps=7), peers.newton_schulz(A, table, 7), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("p", [2, 4])
def test_coupled_newton_stops_at_its_tolerance(p):
    Q = torch.linalg.qr(torch.randn(24, 24, dtype=torch.float64))[0]
    values = torch.logspace(0, -3, 24, dtype=torch.float64)
    X, steps = peers.coupled_newton((Q * values) @ Q.T, p)
    # The error at the stop is about that of M = Xᵖ A, at most 1e-6 an entry.
    torch.testing.assert_close(X, (Q * values ** (-1 / p)) @ Q.T, atol=1e-4, rtol=0)
    assert 5 < steps < 40


@pytest.mark.parametrize("shape", [(40, 40), (96, 24), (4, 24, 48)])
def test_the_floor_has_every_product(shape):
    A = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    options = {"steps": 3, "rule": "taylor"}
    products = recorded_products(lambda: pc.polar(A, **options), A)
    assert flops(product_floor(products, A)) == flops(lambda: pc.polar(A, **options))
    # The fit's products are skinny, and none of the floor's.
    assert recorded_products(lambda: pc.polar(A, steps=3, rule="prism"), A) == products


def test_runs_are_timed_equally_often():
    calls = {"one": 0, "two": 0}

    def count(name):
        calls[name] += 1

    runs = {name: lambda name=name: count(name) for name in calls}
    times = time_in_turns(runs, Clock(torch.device("cpu")), of_rounds(7))
    assert len(times["one"]) == len(times["two"]) == 7
    assert calls["one"] == calls["two"] == 8
    spread = ratio({"a": [2.0, 4.0, 9.0], "b": [1.0, 2.0, 3.0]}, "a", "b")
    assert spread == Spread(2.0, 2.0, 2.5)


def test_every_part_runs(one_thread, folders, capsys, monkeypatch):
    """Without graphs, and without the processes that compile."""
    pytest.importorskip("matplotlib", reason="the extra `demo` is not installed")
    monkeypatch.setattr(core, "compiled", lambda function, mode, **options: partial(function, **options))
    for part in PARTS.keys() - {"costs"}:
        main(["--quick", "--threads", "1", "--seconds", "0.001", "--only", part])
        assert (folders / "out" / f"bench-{part}.txt").exists()
    lines = capsys.readouterr().out.splitlines()
    assert (folders / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")
    (ratios,) = (line.split() for line in lines if line.split()[:3] == ["256x256", "float32", "5"])
    assert float(ratios[3]) > 0.5
    named = {line.split("  ")[0] for line in lines}
    assert {"inv_root p=4 4x64x64 to 1e-03", "256x256 float32"} <= named
    # The two ways to differentiate differ by rounding in single precision.
    (dual,) = (line.split() for line in lines if line.split()[:1] == ["dual"])
    assert 0 < float(dual[-1]) < 1e-4


def test_what_is_measured_in_processes_of_their_own(one_thread, monkeypatch):
    """Here in this one, eagerly."""
    monkeypatch.setattr(costs, "compiled", lambda function, **options: partial(function, **options))
    assert all(seconds > 0 for seconds in costs.compile_seconds("prism", 2, "cpu"))
    # X, its Gram matrix, W and the next X at the least.
    assert 3 <= costs.extra_matrices("taylor", 3, "cpu", n=64) < 12
    assert 2 <= costs.extra_matrices(costs.PEER, 3, "cpu", n=64) < 8
