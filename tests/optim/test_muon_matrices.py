"""What Muon orthogonalises: shapes, scales, dtypes, missing and bad gradients."""

import pytest
import torch
from torch import nn

from prism_compile.optim import Muon, _polar

from ..matrices import gaussian, log_spaced, rms_orthogonality, svd_polar, with_singular_values
from .training import parameters, set_gradients, train

pytestmark = pytest.mark.usefixtures("one_thread")


class TestOrthogonalisation:
    @pytest.mark.parametrize(
        ("rule", "degree"), [("prism", 2), ("prism", 1), ("taylor", 2), ("taylor", 1), ("polar_express", 2)]
    )
    def test_the_step_is_along_the_polar_factor(self, rule, degree):
        shapes = [(20, 20), (30, 10), (10, 30)]
        params = parameters(shapes, dtype=torch.float64)
        start = [param.detach().clone() for param in params]
        grads = [with_singular_values(log_spaced(min(s), 10.0), *s, seed=5) for s in shapes]
        for param, grad in zip(params, grads):
            param.grad = grad
        options = {"rule": rule, "degree": degree, "ns_steps": 14, "dtype": None, "compile": False}
        Muon(params, lr=1.0, weight_decay=0.25, **options).step()
        for param, before, grad in zip(params, start, grads):
            m, n = param.shape
            expected = 0.75 * before - max(1, m / n) ** 0.5 * svd_polar(grad)
            # Rounding of a converged float64 iteration at condition 10.
            torch.testing.assert_close(param.detach(), expected, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("nesterov", [True, False])
    def test_momentum_turns_the_direction(self, nesterov):
        (param,) = parameters([(9, 6)], dtype=torch.float64)
        optimizer = Muon([param], lr=1.0, nesterov=nesterov, ns_steps=14, dtype=None, compile=False)
        expected, mean = param.detach().clone(), torch.zeros_like(param)
        for seed in range(4):
            set_gradients([param], seed)
            mean = 0.95 * mean + 0.05 * param.grad
            direction = 0.05 * param.grad + 0.95 * mean if nesterov else mean
            expected = 0.9 * expected - 1.5**0.5 * svd_polar(direction)
            optimizer.step()
        torch.testing.assert_close(param.detach(), expected, rtol=0, atol=1e-10)

    def test_strided_parameters_and_gradients(self):
        conv = nn.Parameter(gaussian(8, 3, 2, 2).to(memory_format=torch.channels_last))
        wide = nn.Parameter(gaussian(9, 5).T)
        before = [conv.detach().clone(), wide.detach().clone()]
        conv.grad = gaussian(8, 3, 2, 2, seed=1).to(memory_format=torch.channels_last)
        wide.grad = gaussian(5, 9, seed=2)
        Muon([conv, wide], lr=1.0, weight_decay=0, ns_steps=14, dtype=None, compile=False).step()
        expected = svd_polar(conv.grad.flatten(1)).reshape(conv.shape)
        torch.testing.assert_close(before[0] - conv, expected, rtol=0, atol=1e-10)
        torch.testing.assert_close(before[1] - wide, svd_polar(wide.grad), rtol=0, atol=1e-10)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, None])
    @pytest.mark.parametrize("scale", [1e-42, 1e-40, 1e-30, 1e-12, 1.0, 1e30])
    def test_the_scale_of_a_gradient_does_not_matter(self, dtype, scale):
        (param,) = parameters([(32, 16)])
        before = param.detach().clone()
        grad = gaussian(32, 16, seed=3, dtype=torch.float32)
        param.grad = grad * scale
        Muon([param], lr=1.0, weight_decay=0, momentum=0.0, dtype=dtype, ns_steps=8, compile=False).step()
        step = (before - param.detach()) / 2**0.5
        # bfloat16's floor of the iteration is 2e-3 in rms; its entries are of size 1/√32.
        assert rms_orthogonality(step) < 1e-2
        # A subnormal gradient has few digits of its own: those of what was given count.
        assert (step - svd_polar(param.grad.double() / scale)).norm() < 2e-2 * 4

    def test_the_solve_writes_to_no_gradient_and_no_buffer(self):
        params = parameters([(16, 16), (12, 20)])
        optimizer = Muon(params, nesterov=False, dtype=None, compile=False)
        set_gradients(params, 0)
        grads = [param.grad.clone() for param in params]
        optimizer.step()
        for param, grad in zip(params, grads):
            assert torch.equal(param.grad, grad)
            buffer = torch.zeros_like(grad).lerp_(grad, 1 - 0.95)
            assert torch.equal(optimizer.state[param]["momentum_buffer"], buffer)

    def test_large_buckets_are_split(self, monkeypatch):
        params, others = (parameters([(12, 8)] * 7, dtype=torch.float64) for _ in range(2))
        train(params, Muon(params, compile=False, dtype=None))
        sizes = []

        def backend(graph, _):
            return lambda batch: sizes.append(len(batch)) or graph(batch)

        monkeypatch.setattr(_polar, "_LARGEST_BATCH", 3 * 96)
        train(others, Muon(others, compile={"backend": backend}, dtype=None), steps=3)
        assert sizes == [3, 3, 1] * 3
        # The batch's size may change the order of a product's sums.
        torch.testing.assert_close(params, others, rtol=0, atol=1e-12)


class TestGradients:
    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_a_bad_gradient_poisons_its_own_parameter_as_in_torch(self, bad):
        for kind in (lambda own: Muon(own, compile=False), torch.optim.Muon):
            params = parameters([(12, 8)] * 3)
            set_gradients(params, 0)
            params[1].grad[0, 0] = bad
            kind(params).step()
            assert params[1].isnan().any()
            assert params[0].isfinite().all()
            assert params[2].isfinite().all()

    def test_the_loss_of_a_closure_is_returned_and_its_gradients_are_taken(self):
        params, others = parameters(), parameters()

        def closure():
            set_gradients(params, 0)
            return sum(param.square().sum() for param in params)

        before = closure()
        assert Muon(params, compile=False).step(closure) == before
        train(others, Muon(others, compile=False), steps=1)
        assert all(map(torch.equal, params, others))
