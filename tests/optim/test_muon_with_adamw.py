"""MuonWithAdamW: the steps of both parts, as one optimizer of trainers."""

import copy
import io
import pickle
from functools import partial

import pytest
import torch
from torch import nn

from prism_compile.optim import Muon, MuonWithAdamW, split_parameters

from ..matrices import gaussian

BOTH = {"muon": {"ns_steps": 2, "momentum_dtype": torch.bfloat16}, "adamw": {"betas": (0.8, 0.9)}}


def small_model(dtype=torch.float32) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(10, 6), nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 10))
    return model.to(dtype)


def backward(model, seed: int = 0) -> torch.Tensor:
    model.zero_grad()
    tokens = torch.arange(20).reshape(4, 5) % 10
    loss = (model(tokens) - gaussian(4, 5, 10, seed=seed, dtype=model[1].weight.dtype)).square().mean()
    loss.backward()
    return loss


def train(model, optimizer, steps: int, first: int = 0, scheduler=None) -> None:
    for seed in range(first, first + steps):
        backward(model, seed)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


def optimizer_of(model, **options) -> MuonWithAdamW:
    return MuonWithAdamW(model, **{"lr": 0.01, "compile": False, **BOTH, **options})


def assert_same(model, other) -> None:
    assert all(map(torch.equal, model.parameters(), other.parameters()))


@pytest.mark.parametrize("given", ["model", "split"])
def test_a_step_is_that_of_both_parts(given):
    model, twin = small_model(), small_model()
    optimizer = optimizer_of(model if given == "model" else split_parameters(model), adamw={})
    matrices, rest = split_parameters(twin)
    others = [
        Muon(matrices, lr=0.01, adjust_lr_fn="match_rms_adamw", compile=False, **BOTH["muon"]),
        torch.optim.AdamW(rest, lr=0.01, weight_decay=0.1),
    ]
    for seed in range(4):
        assert optimizer.step(partial(backward, model, seed)) == backward(twin, seed)
        for other in others:
            other.step()
    assert_same(model, twin)
    assert len(optimizer.state) == sum(1 for _ in model.parameters())
    assert [group["use_muon"] for group in optimizer.param_groups] == [True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_resuming_changes_nothing_schedules_included(dtype):
    straight, resumed = small_model(dtype), small_model(dtype)

    def made(model, **options):
        optimizer = optimizer_of(model, **options)
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)

    optimizer, scheduler = made(straight)
    train(straight, optimizer, 6, scheduler=scheduler)
    optimizer, scheduler = made(resumed)
    train(resumed, optimizer, 3, scheduler=scheduler)
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    states = torch.load(file, weights_only=True)
    optimizer, scheduler = made(resumed, muon={}, adamw={}, lr=1.0)
    optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(states[1])
    train(resumed, optimizer, 3, first=3, scheduler=scheduler)
    assert_same(straight, resumed)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_go_on_alike(copied):
    model = small_model()
    optimizer = optimizer_of(model)
    train(model, optimizer, 2)
    twin, other = copied((model, optimizer))
    train(model, optimizer, 2, first=2)
    train(twin, other, 2, first=2)
    assert_same(model, twin)


def test_groups_may_be_given_added_and_edited():
    model = small_model()
    params = dict(model.named_parameters())
    groups = [
        {"params": [params["1.weight"]], "use_muon": True, "ns_steps": 3},
        {"params": [params["1.bias"]], "use_muon": False, "weight_decay": 0.0, "lr": 0.0},
    ]
    optimizer = MuonWithAdamW(groups[:1], compile=False)
    optimizer.add_param_group(groups[1])
    optimizer.add_param_group({"params": [params["3.weight"]], "use_muon": True})
    optimizer.add_param_group({"params": [params["3.bias"]], "use_muon": False, "betas": (0.5, 0.5)})
    assert [group.get("ns_steps") for group in optimizer.param_groups] == [3, None, 5, None]
    before = {name: param.detach().clone() for name, param in params.items()}
    optimizer.param_groups[2]["lr"] = 0.0
    train(model, optimizer, 1)
    moved = {name for name, param in params.items() if not torch.equal(param, before[name])}
    assert moved == {"1.weight", "3.bias"}


@pytest.mark.parametrize(
    ("uses", "options", "error", "message"),
    [
        ([None], {}, TypeError, "use_muon must be True or False .* got None"),
        ([1], {}, TypeError, "use_muon must be True or .* got 1"),
        ([True], {"muon": 3}, TypeError, "muon must be a dict"),
        ([True, False], {}, ValueError, "some parameters appear in more than one parameter group"),
        ([True], {"lr": -1.0}, ValueError, "lr must be finite"),
    ],
)
def test_errors_name_the_argument(uses, options, error, message):
    param = nn.Parameter(torch.zeros(4, 4))
    groups = [{"params": [param]} | ({} if use is None else {"use_muon": use}) for use in uses]
    with pytest.raises(error, match=message):
        MuonWithAdamW(groups, **options)


def test_another_optimizers_state_is_refused():
    model = small_model()
    optimizer = optimizer_of(model)
    other = torch.optim.AdamW([{"params": g["params"]} for g in optimizer.param_groups])
    with pytest.raises(ValueError, match=r"use_muon = \[True, False\], got \[None, None\]"):
        optimizer.load_state_dict(other.state_dict())
