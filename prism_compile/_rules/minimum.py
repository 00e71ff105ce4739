"""The floor of a valley of a polynomial, without branches."""

import torch
from torch import Tensor

_NEWTON_STEPS = 2


def horner(coefficients: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Value and derivative of a polynomial of degree two or more."""
    value, derivative = coefficients[-1], None
    for coefficient in reversed(coefficients[:-1]):
        derivative = value if derivative is None else torch.addcmul(value, derivative, x)
        value = torch.addcmul(coefficient, value, x)
    assert derivative is not None
    return value, derivative


def refined(loss: list[Tensor], x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """x after Newton steps that are held inside [lower, upper]; loss: coefficients without constant."""
    slope = [loss[0], *(k * c for k, c in enumerate(loss[1:], 2))]
    for _ in range(_NEWTON_STEPS):
        downhill, bend = horner(slope, x)
        # Where the loss is not convex the step is as long as the cell allows.
        x = (x - downhill / bend.clamp(min=torch.finfo(x.dtype).tiny)).clamp(lower, upper)
    return x
