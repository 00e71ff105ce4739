"""Steps multiply in IEEE float32 though the caller asks for less, and leave what the caller asked for."""

import pytest
import torch

from prism_compile.optim import Muon, Orthogonaliser, Shampoo

from ..matrices import F64, eigh_power, gaussian, svd_polar
from ..tf32 import TF32, matmul_precision

KINDS = {
    "Muon": lambda params, **own: Muon(params, dtype=None, ns_steps=2, **own),
    "Shampoo": lambda params, **own: Shampoo(params, steps=2, **own),
}


def weight(seed: int = 0) -> torch.nn.Parameter:
    param = torch.nn.Parameter(torch.zeros(24, 16))
    param.grad = gaussian(24, 16, seed=seed, dtype=torch.float32)
    return param


@pytest.mark.parametrize("name", KINDS)
def test_kernels_are_compiled_and_run_in_ieee_float32_and_the_setting_is_put_back(name):
    torch._dynamo.reset()
    seen = []

    def note(when):
        seen.append((when, torch.backends.mkldnn.matmul.fp32_precision))

    def backend(graph, inputs):
        note("compiled")

        def run(*arguments):
            note("run")
            return graph(*arguments)

        return run

    def failing(graph, inputs):
        raise NotImplementedError

    with matmul_precision("high"):
        asked = torch.backends.mkldnn.matmul.fp32_precision
        assert asked != "ieee"
        with pytest.raises(Exception, match="NotImplementedError"):
            KINDS[name]([weight()], compile={"backend": failing}).step()
        assert torch.backends.mkldnn.matmul.fp32_precision == asked
        optimizer = KINDS[name]([weight()], compile={"backend": backend})
        optimizer.step()
        optimizer.step()
        assert torch.backends.mkldnn.matmul.fp32_precision == asked
    assert {when for when, _ in seen} == {"compiled", "run"}
    assert {precision for _, precision in seen} == {"ieee"}


def test_roots_are_those_of_float32_under_tf32():
    # Factors of condition 1 + n/eps after one gradient, damped by 1e-4 of the mean eigenvalue.
    param = weight()
    with matmul_precision("high"), TF32():
        Shampoo([param], lr=1.0, eps=1e-4, grafting="none", steps=12, compile=False).step()
    G = param.grad.double()

    def root(A):
        return eigh_power(A + 1e-4 * A.trace() / len(A) * torch.eye(len(A), dtype=F64), -1 / 4)

    wanted = -root(G @ G.T) @ G @ root(G.T @ G)
    # float32 of a fourth root at condition 2e5; rounding to 10 bits is off by tenths.
    assert (param.detach().double() - wanted).norm() < 1e-2 * wanted.norm()


def test_polar_factors_are_those_of_float32_under_tf32():
    update = gaussian(24, 16, dtype=torch.float32)
    with matmul_precision("high"), TF32():
        (found,) = Orthogonaliser(steps=12, compile=False)([update])
    assert (found.double() - svd_polar(update)).norm() < 1e-4
