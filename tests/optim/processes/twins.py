"""Parameters that lie over processes, beside the same ones of a single process."""

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from ...matrices import gaussian

STEPS = 20
# Equal to one process after 20 steps, as promised; float64 iterations in batches of other sizes, whose sums
# are in another order, stay far below it.
TOLERANCE = 1e-6


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def assert_same(params: Iterable, others: Iterable, tolerance: float = TOLERANCE) -> None:
    for param, other in zip(params, others, strict=True):
        torch.testing.assert_close(whole(param.detach()), other.detach(), rtol=0, atol=tolerance)


def twins(cases: list, mesh=None, dtype=torch.float64) -> tuple[list[dict], list[dict]]:
    """Param groups for (shape, placements, options), lying over a mesh and not; None: plain in both."""
    groups, others = [], []
    for i, (shape, placements, own) in enumerate(cases):
        value = gaussian(*shape, seed=i, dtype=dtype)
        lying = value.clone() if placements is None else distribute_tensor(value, mesh, placements)
        groups.append({"params": [nn.Parameter(lying)], **own})
        others.append({"params": [nn.Parameter(value.clone())], **own})
    return groups, others


def params_of(groups: list[dict]) -> list[nn.Parameter]:
    return [param for group in groups for param in group["params"]]


def set_gradients(groups: list[dict], others: list[dict], step: int) -> None:
    """Gradients of a step; one parameter after another goes without."""
    for i, (group, other) in enumerate(zip(groups, others)):
        (param,), (twin,) = group["params"], other["params"]
        if len(groups) > 1 and i == step % (len(groups) + 1):
            param.grad = twin.grad = None
            continue
        twin.grad = gaussian(*twin.shape, seed=100 * step + i + 50, dtype=twin.dtype)
        param.grad = twin.grad.clone()
        if isinstance(param, DTensor):
            param.grad = distribute_tensor(twin.grad, param.device_mesh, param.placements)


def compare(
    cases: list,
    build: Callable[..., Optimizer],
    mesh=None,
    steps: int | None = None,
    dtype=torch.float64,
    tolerance: float = TOLERANCE,
    **distribution,
) -> tuple[Optimizer, Optimizer]:
    """Step the parameters by `build(groups, **distribution)` and by `build(groups)` alone; returns both.

    As many steps as have each parameter go without a gradient, and two more.
    """
    groups, others = twins(cases, mesh, dtype)
    optimizer, other = build(groups, **distribution), build(others)
    for step in range(steps or len(cases) + 2):
        set_gradients(groups, others, step)
        optimizer.step()
        other.step()
        for param, twin in zip(params_of(groups), params_of(others)):
            assert twin.grad is None or torch.equal(whole(param.grad), twin.grad)
    assert_same(params_of(groups), params_of(others), tolerance)
    for i, twin in enumerate(params_of(others)):
        assert (twin - gaussian(*twin.shape, seed=i, dtype=dtype)).norm() > 1e3 * tolerance
    return optimizer, other
