"""Grafting: the direction of one method with the length of another's step."""

import torch
from torch import Tensor

from .._iteration.scaling import nonzero

GRAFTS = ("none", "sgd", "adam")


def adam_direction(mean: Tensor, square: Tensor, eps: float) -> Tensor:
    """m̂ / (√v̂ + ε), from bias-corrected moments."""
    return mean / (square.sqrt() + eps)


def with_norm_of(direction: Tensor, other: Tensor) -> Tensor:
    """The direction scaled to the Frobenius norm of another; zero where the direction is."""
    norm = torch.linalg.vector_norm
    scaled: Tensor = direction * (norm(other) / nonzero(norm(direction)))
    return scaled
