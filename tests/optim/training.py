"""Small parameters, gradients and training runs for the tests of the optimizers."""

import torch
from torch import nn

from prism_compile.optim import Muon

from ..matrices import gaussian

SHAPES = [(24, 24), (40, 16), (16, 40), (24, 24)]


def parameters(shapes=SHAPES, seed: int = 0, dtype=torch.float32) -> list[nn.Parameter]:
    return [nn.Parameter(gaussian(*shape, seed=seed + i, dtype=dtype)) for i, shape in enumerate(shapes)]


def set_gradients(params: list[nn.Parameter], seed: int, scale: float = 1.0) -> None:
    for i, param in enumerate(params):
        param.grad = scale * gaussian(*param.shape, seed=1000 * seed + i, dtype=param.dtype)


def train(params, optimizer, steps: int = 3, first: int = 0, scheduler=None) -> None:
    for seed in range(first, first + steps):
        set_gradients(params, seed)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


def jordan(params, **options) -> Muon:
    return Muon(params, rule="jordan", compile=False, **options)


def relative_difference(params, others) -> float:
    difference = sum((p - q).square().sum() for p, q in zip(params, others))
    return (difference / sum(q.square().sum() for q in others)).sqrt().item()
