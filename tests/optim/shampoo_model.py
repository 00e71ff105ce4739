"""A small model, and how Shampoo trains it in the tests."""

import torch
from torch import nn

from prism_compile.optim import Shampoo

from ..matrices import gaussian

INPUT, TARGET = gaussian(96, 12), gaussian(96, 6, seed=1)


def small_model(dtype=torch.float32) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 6)).to(dtype)


def backward(model) -> torch.Tensor:
    dtype = next(model.parameters()).dtype
    model.zero_grad()
    loss = (model(INPUT.to(dtype)) - TARGET.to(dtype)).square().mean()
    loss.backward()
    return loss.detach()


def train(model, optimizer, steps) -> None:
    for _ in range(steps):
        backward(model)
        optimizer.step()


def optimizer_for(model, **options) -> Shampoo:
    return Shampoo(model.parameters(), **{"lr": 1e-2, "betas": (0.9, 0.99), "compile": False, **options})


def assert_parameters_close(model, expected, tolerance) -> None:
    for w, other in zip(model.parameters(), expected.parameters()):
        assert (w.double() - other.double()).norm() <= tolerance * other.double().norm()
