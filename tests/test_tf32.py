"""TF32: eager calls run without it, whatever the caller set; what it costs a graph of the caller's."""

import pytest
import torch

import prism_compile as pc

from .functions import FUNCTIONS, sample, tensors
from .matrices import eigh_power, log_spaced, spd, svd_polar, with_singular_values
from .tf32 import TF32, matmul_precision


@pytest.mark.parametrize("name", FUNCTIONS)
def test_eager_calls_run_in_ieee_float32(name):
    A = sample(name).float()
    expected = tensors(FUNCTIONS[name](A))
    with TF32(), matmul_precision("high"):
        found = tensors(FUNCTIONS[name](A))
        # The stand-in itself rounds.
        assert not torch.equal(A.mT @ A, (A.mT.double() @ A.double()).float())
        with pytest.raises(TypeError):
            FUNCTIONS[name](A.int())
        assert torch.get_float32_matmul_precision() == "high"
    assert all(map(torch.equal, found, expected))


def test_a_dual_backward_pass_runs_in_ieee_float32():
    def gradient():
        A = sample("polar").float().requires_grad_()
        pc.polar(A, gradient="dual", rule="prism")[0, 0].backward()
        return A.grad

    expected = gradient()
    with TF32(), matmul_precision("high"):
        assert torch.equal(gradient(), expected)


def test_an_inherited_setting_stays_inherited():
    matmul, A = torch.backends.mkldnn.matmul, sample("polar").float()
    expected = pc.polar(A)
    try:
        torch.backends.fp32_precision, matmul.fp32_precision = "tf32", "none"
        with TF32():
            assert torch.equal(pc.polar(A), expected)
        assert matmul.fp32_precision == "tf32"
        torch.backends.fp32_precision = "ieee"
        assert matmul.fp32_precision == "ieee"
    finally:
        torch.backends.fp32_precision = "none"


# Factors of 10 bits for 23 make errors 2¹³ times as large, less what rounding of sums adds to both. Measured
# at condition 1e4 (n = 64): polar 3e-2 for 2e-5, inv_sqrtm 4e-2 for 3e-5, inv_root 2e-2 for 1e-5, inv .1 for
# 7e-5; at 1e6 the roots are NaN for 2e-3 in float32, the polar factor off by .6 for 1e-3.
@pytest.mark.parametrize("name", ["polar", "sqrtm", "inv_sqrtm", "inv_root", "inv"])
def test_what_a_graph_loses(name):
    A = spd(64, 1e4)
    if name in ("polar", "inv"):
        A = with_singular_values(log_spaced(64, 1e4), 64, 64)
        expected = svd_polar(A) if name == "polar" else torch.linalg.inv(A)
    else:
        expected = eigh_power(A, {"sqrtm": 0.5, "inv_sqrtm": -0.5, "inv_root": -1 / 3}[name])

    def error():
        found = FUNCTIONS[name](A.float(), rule="prism", steps=20).double()
        return ((found - expected).norm() / expected.norm()).item()

    alone = error()
    with TF32(always=True):
        assert 2**9 < error() / alone < 2**13
