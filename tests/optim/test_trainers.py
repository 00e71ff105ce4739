"""What trainers and their wrappers do to optimizers: switch compilers off, edit param groups, wrap."""

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.utils.flop_counter import FlopCounterMode

from prism_compile.optim import Muon, Shampoo

from .training import parameters, set_gradients, train

KINDS = pytest.mark.parametrize("kind", [Muon, Shampoo])
# Solved quickly.
SHORT = {Muon: {"ns_steps": 1, "rule": "taylor"}, Shampoo: {"steps": 1}}


def optimizer_of(kind, params, **options):
    return kind(params, **{"lr": 0.1, "compile": False, **SHORT[kind], **options})


@KINDS
@pytest.mark.parametrize(
    "switch", [lambda: FlopCounterMode(display=False), lambda: torch._dynamo.config.patch(disable=True)]
)
def test_where_nothing_is_compiled_a_step_is_eager(kind, switch):
    torch._dynamo.reset()
    params, others = parameters([(6, 4)]), parameters([(6, 4)])
    optimizer, other = optimizer_of(kind, params, compile=True), optimizer_of(kind, others)
    with switch():
        train(params, optimizer, steps=2)
    train(others, other, steps=2)
    assert all(map(torch.equal, params, others))


@KINDS
def test_parameters_replaced_and_added_by_hand_step_as_in_a_new_optimizer(kind):
    params = parameters([(6, 4), (4, 4)])
    optimizer = optimizer_of(kind, params)
    # As accelerate does before the first step, and as progressive growing does after some.
    replaced = [nn.Parameter(param.detach().clone()) for param in params]
    optimizer.param_groups[0]["params"] = replaced
    late = nn.Parameter(torch.ones(5, 3))
    train(replaced, optimizer, steps=2)
    optimizer.param_groups[0]["params"].append(late)
    others = [nn.Parameter(param.detach().clone()) for param in params]
    other = optimizer_of(kind, others)
    train(others, other, steps=2)
    alone = nn.Parameter(torch.ones(5, 3))
    for own, instance in (([*replaced, late], optimizer), (others, other)):
        set_gradients(own, 7)
        instance.step()
    alone.grad = late.grad
    optimizer_of(kind, [alone]).step()
    assert all(map(torch.equal, [*replaced, late], [*others, alone]))
    assert not any(param in optimizer._layouts for param in params)


@KINDS
def test_options_repeated_in_a_group_are_accepted_where_equal(kind, tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        params, others = parameters([(6, 4), (4, 4)]), parameters([(6, 4), (4, 4)])
        options = {"lr": 0.1, "compile": False, **SHORT[kind]}
        wrapped = ZeroRedundancyOptimizer(params, optimizer_class=kind, **options)
        train(params, wrapped, steps=2)
        train(others, kind(others, **options), steps=2)
        assert all(map(torch.equal, params, others))
    finally:
        torch.distributed.destroy_process_group()


def test_notes_of_trainers_in_groups_pass():
    notes = {"name": "body", "lr_scale": 0.5, "initial_lr": 0.1, "max_momentum": 0.95, "foreach": None}
    for kind in (Muon, Shampoo):
        params = parameters([(6, 4)])
        optimizer = optimizer_of(kind, [{"params": params, **notes}])
        train(params, optimizer, steps=1)
        assert optimizer.param_groups[0].items() >= notes.items()


def test_cycled_betas_make_no_new_graph_of_a_traced_step():
    params, others = (parameters([(6, 4)], dtype=torch.float64) for _ in range(2))
    optimizer, other = (optimizer_of(Shampoo, own, betas=(0.9, 0.99)) for own in (params, others))
    counter = CompileCounter()
    compiled = torch.compile(lambda optimizer: optimizer.step(), backend=counter, fullgraph=True)
    for i in range(10):
        for own, instance in ((params, optimizer), (others, other)):
            set_gradients(own, i)
            instance.param_groups[0]["betas"] = (0.85 + 0.01 * i, 0.99)
        compiled(optimizer)
        other.step()
    # One that makes the state, one with the betas of that step, one for any.
    assert counter.frame_count <= 3
    torch.testing.assert_close(params, others, rtol=0, atol=1e-12)
