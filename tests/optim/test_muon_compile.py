"""Muon's compiled graphs: one for each shape, none later."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from prism_compile.optim import Muon

from .training import parameters, set_gradients, train

pytestmark = pytest.mark.usefixtures("one_thread")

# Ten shapes, one of them as its transpose too and one three times.
MANY_SHAPES = [(8 + i, 6) for i in range(10)] + [(6, 8), (9, 6), (9, 6)]
# Traced quickly.
SHORT = {"rule": "taylor", "ns_steps": 1}
OWN = {
    **{"momentum_dtype": torch.float32, "beta2": 0.9, "cautious": True},
    **{"heads": (2, 4), "heads_by": "columns"},
}


class TestCompile:
    @pytest.fixture(autouse=True)
    def fresh_dynamo(self):
        torch._dynamo.reset()
        yield
        torch._dynamo.reset()

    def test_one_graph_for_each_shape_and_none_later(self):
        counter = CompileCounter()
        params = parameters(MANY_SHAPES)
        optimizer = Muon(params, lr=0.1, **SHORT, compile={"backend": counter})
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
        train(params, optimizer, steps=1)
        assert counter.frame_count == len({tuple(sorted(shape)) for shape in MANY_SHAPES}) == 10
        with torch._dynamo.config.patch(error_on_recompile=True):
            train(params, optimizer, steps=4, first=1, scheduler=scheduler)
        assert counter.frame_count == 10

    def test_optimizers_do_not_count_against_each_others_limit(self):
        counter = CompileCounter()
        with torch._dynamo.config.patch(recompile_limit=1, accumulated_recompile_limit=3):
            for i in range(5):
                params = parameters([(6, 4 + i), (5, 3)])
                train(params, Muon(params, **SHORT, compile={"backend": counter}), steps=1)
        assert counter.frame_count == 10

    def test_missing_gradients_fill_a_batch_that_is_compiled(self):
        counter = CompileCounter()
        params, others = parameters([(8, 6)] * 6), parameters([(8, 6)] * 6)
        optimizer = Muon(params, ns_steps=2, dtype=None, compile={"backend": counter})
        other = Muon(others, ns_steps=2, dtype=None, compile=False)
        for seed, missing in enumerate([0, 1, 2, 3, 0, 3]):
            for own, instance in ((params, optimizer), (others, other)):
                set_gradients(own, seed)
                for param in own[:missing]:
                    param.grad = None
                instance.step()
        assert counter.frame_count == 1
        # The batch's size may change the order of a product's sums.
        torch.testing.assert_close(params, others, rtol=0, atol=1e-5)

    def test_inductor_steps_like_eager(self):
        params, others = (parameters([(24, 16), (16, 24)]) for _ in range(2))
        train(params, Muon(params, lr=0.1, ns_steps=2, dtype=torch.float32), steps=2)
        train(others, Muon(others, lr=0.1, ns_steps=2, dtype=torch.float32, compile=False), steps=2)
        # float32 sums in another order.
        torch.testing.assert_close(params, others, rtol=0, atol=1e-5)

    @pytest.mark.parametrize(("rate", "own"), [(float, {}), (torch.tensor, OWN)])
    def test_a_callers_graph_takes_the_step_in(self, rate, own):
        params, others = (parameters([(8, 6), (4, 6)], dtype=torch.float64) for _ in range(2))
        options = {**SHORT, "dtype": None, **own}
        optimizer, other = Muon(params, **options), Muon(others, **options, compile=False)
        counter = CompileCounter()
        compiled = torch.compile(lambda optimizer: optimizer.step(), backend=counter, fullgraph=True)
        for seed in range(4):
            for instance in (optimizer, other):
                instance.param_groups[0]["lr"] = rate(0.1 / (1 + seed))
            set_gradients(params, seed)
            set_gradients(others, seed)
            compiled(optimizer)
            other.step()
        # One in which the momentum is made; none for another rate.
        assert counter.frame_count == 2
        # A tensor's decay and half the momentum are rounded in float32, by 6e-8 of entries below 5 a step.
        torch.testing.assert_close(params, others, rtol=0, atol=1e-12 if rate is float else 2e-6)


def test_a_rate_on_the_device_is_not_read():
    # On meta tensors there is nothing to read, and `item` raises.
    params = [torch.nn.Parameter(torch.empty(shape, device="meta")) for shape in [(8, 6), (6, 8), (4, 4)]]
    for param in params:
        param.grad = torch.empty_like(param)
    optimizer = Muon(params, lr=torch.empty((), device="meta"), ns_steps=1, compile=False)
    optimizer.step()
    optimizer.step()
