"""Shampoo's solves under torch.compile, and a step that waits for no device."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from prism_compile.optim import Shampoo

from ..matrices import F64, gaussian
from .shampoo_model import assert_parameters_close, backward, optimizer_for, small_model, train


@pytest.mark.parametrize("grafting", ["none", "sgd", "adam"])
@pytest.mark.parametrize("lr", [1e-2, "a tensor"])
def test_a_step_reads_nothing_back(grafting, lr):
    # On meta tensors there is nothing to read, and to ask for a number raises.
    model = small_model().to("meta")
    lr = torch.empty((), device="meta") if isinstance(lr, str) else lr
    optimizer = optimizer_for(model, lr=lr, grafting=grafting, precondition_frequency=2, weight_decay=0.1)
    for _ in range(3):
        for w in model.parameters():
            w.grad = torch.empty_like(w)
        optimizer.step()


def test_solves_compile_once_per_shape_and_agree_with_eager():
    batches = []

    def backend(graph, inputs):
        batches.append(tuple(inputs[0].shape))
        return graph

    options = {"precondition_frequency": 2, "max_preconditioner_dim": 10, "steps": 5}
    model, eager = small_model(), small_model()
    optimizer = optimizer_for(model, compile={"backend": backend}, **options)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    plain = optimizer_for(eager, **options)
    plain_schedule = torch.optim.lr_scheduler.ExponentialLR(plain, 0.9)
    for _ in range(8):
        train(model, optimizer, 1)
        train(eager, plain, 1)
        schedule.step()
        plain_schedule.step()
        # A gradient that is missing now and then must not change a batch's shape.
        model[2].weight.requires_grad_(False)
        eager[2].weight.requires_grad_(False)
        train(model, optimizer, 1)
        train(eager, plain, 1)
        model[2].weight.requires_grad_(True)
        eager[2].weight.requires_grad_(True)
    # Of [20, 12] four blocks [10, 6], of [6, 20] two blocks [6, 10]: equal sizes are one batch.
    assert sorted(batches) == [(6, 6, 6), (6, 10, 10)]
    assert_parameters_close(model, eager, 1e-6)


def test_more_shapes_than_dynamo_allows_by_default():
    counter = CompileCounter()
    weights = [gaussian(n, n, dtype=torch.float32).requires_grad_() for n in range(2, 11)]
    optimizer = Shampoo(weights, solver="eigh", compile={"backend": counter})
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    assert counter.frame_count == len(weights)


def test_inductor_follows_eager():
    weights = [gaussian(8, 8).requires_grad_() for _ in range(2)]
    for weight, compile in zip(weights, (True, False)):
        optimizer = Shampoo([weight], lr=0.1, eps=1e-2, steps=2, compile=compile)
        for seed in range(3):
            weight.grad = gaussian(8, 8, seed=seed)
            optimizer.step()
    # Other reduction orders in float64 at a condition below 1e3, through two steps.
    torch.testing.assert_close(*weights, rtol=0, atol=1e-10)


def test_a_callers_graph_takes_the_step_in():
    model, eager = small_model(F64), small_model(F64)
    options = {"precondition_frequency": 3, "max_preconditioner_dim": 10}
    optimizer, other = optimizer_for(model, compile=True, **options), optimizer_for(eager, **options)
    counter = CompileCounter()

    compiled = torch.compile(lambda optimizer: optimizer.step(), backend=counter, fullgraph=True)
    for number in range(7):
        for own in (optimizer, other):
            own.param_groups[0]["lr"] = 1e-2 / (1 + number)
        backward(model)
        compiled(optimizer)
        train(eager, other, 1)
    # That in which the state is made, that without and that with new roots.
    assert counter.frame_count == 3
    assert_parameters_close(model, eager, 1e-12)
