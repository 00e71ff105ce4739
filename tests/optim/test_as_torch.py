"""What torch's own suite asks of every optimizer, with the inputs that it has for Muon, asked of ours."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, ExponentialLR, LinearLR, ReduceLROnPlateau, StepLR

from prism_compile.optim import Muon, Shampoo

from ..matrices import gaussian

INPUTS = [
    (Muon, {}),
    (Muon, {"lr": 0.01}),
    (Muon, {"lr": torch.tensor(0.001)}),
    (Muon, {"weight_decay": 0.2}),
    (Muon, {"momentum": 0.8}),
    (Muon, {"ns_steps": 6}),
    (Muon, {"ns_coefficients": (3.4, -4.7, 2.0)}),
    (Muon, {"adjust_lr_fn": "match_rms_adamw"}),
    (Shampoo, {}),
    (Shampoo, {"lr": torch.tensor(0.001), "weight_decay": 0.2}),
    (Shampoo, {"betas": (0.0, 0.9), "grafting": "sgd"}),
]
EACH = pytest.mark.parametrize(("kind", "options"), INPUTS, ids=str)
BOTH = pytest.mark.parametrize("kind", [Muon, Shampoo])


def params(count: int = 2) -> list[nn.Parameter]:
    return [nn.Parameter(gaussian(5, 3, seed=i, dtype=torch.float32)) for i in range(count)]


def made(kind, weights, **options):
    return kind(weights, **{"compile": False, **options})


def stepped(optimizer, steps: int = 3) -> None:
    for step in range(steps):
        for i, group in enumerate(optimizer.param_groups):
            for j, weight in enumerate(group["params"]):
                weight.grad = gaussian(*weight.shape, seed=100 * step + 10 * i + j + 7, dtype=weight.dtype)
        optimizer.step()


def squared_distance(weight, bias) -> torch.Tensor:
    return (weight @ gaussian(3, 1, seed=5, dtype=torch.float32) + bias).square().sum()


@EACH
@pytest.mark.parametrize(
    "schedule",
    [
        None,
        lambda o: StepLR(o, step_size=10, gamma=0.9),
        lambda o: ReduceLROnPlateau(o),
        lambda o: LinearLR(o, start_factor=0.4, total_iters=4),
        lambda o: ConstantLR(o, factor=0.4, total_iters=4),
        lambda o: ExponentialLR(o, gamma=0.99),
    ],
)
def test_steps_go_downhill(kind, options, schedule):
    weight, bias = nn.Parameter(gaussian(10, 3, dtype=torch.float32)), nn.Parameter(torch.ones(10, 1))
    # A scheduler writes to a rate that is a tensor.
    optimizer = made(kind, [weight, bias], **copy.deepcopy(options))
    scheduler = schedule and schedule(optimizer)
    first = squared_distance(weight, bias).item()
    for _ in range(10):
        optimizer.zero_grad()
        loss = squared_distance(weight, bias)
        loss.backward()
        optimizer.step()
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(loss.detach())
        elif scheduler is not None:
            scheduler.step()
    assert squared_distance(weight, bias).item() < first


@EACH
def test_neither_a_missing_gradient_nor_zeros_move_a_weight(kind, options):
    weights = params()
    before = [weight.detach().clone() for weight in weights]
    optimizer = made(kind, weights, **{**options, "weight_decay": 0.0})
    weights[0].grad = torch.zeros_like(weights[0])
    optimizer.step()
    assert all(map(torch.equal, weights, before))
    assert set(optimizer.state) - {weights[1]} == {weights[0]}
    assert not optimizer.state[weights[1]]


@BOTH
def test_a_tensor_rate_is_the_number(kind):
    weights, others = params(), params()
    stepped(made(kind, weights, lr=torch.tensor(0.25)))
    stepped(made(kind, others, lr=0.25))
    assert all(map(torch.equal, weights, others))


@BOTH
def test_groups_have_rates_and_decays_of_their_own(kind):
    weights, others = params(), params()
    groups = [{"params": weights[:1]}, {"params": weights[1:], "lr": 0.0}]
    before = weights[1].detach().clone()
    stepped(made(kind, groups, lr=0.1, weight_decay=0.1))
    stepped(made(kind, others[:1], lr=0.1, weight_decay=0.1))
    assert torch.equal(weights[0], others[0])
    assert torch.equal(weights[1], before)


@BOTH
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))])
def test_copies_print_compile_as_little_and_go_on_alike_after_edits(kind, copied):
    optimizer = made(kind, params())
    stepped(optimizer)
    twin = copied(optimizer)
    assert repr(twin) == repr(optimizer)
    assert f"{kind.__name__} (" in repr(optimizer)
    for own in (optimizer, twin):
        own.param_groups[0]["weight_decay"] = 0.5
        with torch.compiler.set_stance("fail_on_recompile"):
            stepped(own)
    (group,), (other,) = optimizer.param_groups, twin.param_groups
    assert all(map(torch.equal, group["params"], other["params"]))
    assert not set(group["params"]) & set(other["params"])


@BOTH
def test_parameters_are_an_iterable_and_none_is_there_twice(kind):
    (weight,) = params(1)
    with pytest.raises(TypeError, match="params argument given to the optimizer should be an iterable"):
        made(kind, weight)
    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        made(kind, [{"params": [weight]}, {"params": [weight]}])
    with pytest.raises(ValueError, match="can't optimize a non-leaf Tensor"):
        made(kind, [weight * 2])


@BOTH
def test_a_parameter_may_move_to_another_dtype_before_the_first_step(kind):
    weights = params()
    optimizer = made(kind, weights)
    for weight in weights:
        weight.data = weight.data.double()
    stepped(optimizer)
    assert all(weight.isfinite().all() and weight.dtype == torch.float64 for weight in weights)
