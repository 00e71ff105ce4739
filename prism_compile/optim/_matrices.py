"""The matrices that a parameter stands for, and the updates that an optimiser makes to them."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Matrices(NamedTuple):
    """How a parameter of `shape` reads as `count` matrices `[m, n]`.

    Stacked for a solve they are tall: `[count, max(m, n), min(m, n)]`, so that a shape and its transpose
    share a batch. The polar factor of a transpose is the transpose of the polar factor.
    """

    shape: tuple[int, ...]
    count: int  # type: ignore[assignment]  # not tuple's
    m: int
    n: int

    @property
    def tall(self) -> tuple[int, int]:
        return max(self.m, self.n), min(self.m, self.n)

    def read(self, tensor: Tensor) -> Tensor:
        """A tensor of the parameter's shape as `[count, *tall]`; a view where strides allow."""
        stack = tensor.reshape(self.count, self.m, self.n)
        return stack.mT if self.m < self.n else stack

    def restore(self, stack: Tensor) -> Tensor:
        """`[count, *tall]` in the parameter's shape."""
        if self.m < self.n:
            stack = stack.mT
        return stack.reshape(self.shape)


def matrices_of(shape: tuple[int, ...], flatten: bool, heads: int) -> Matrices:
    """Read `[out, ...]` as one matrix `[out, rest]`, or leading dimensions as a batch; heads split rows.

    Raises ValueError where the shape has fewer than two dimensions or rows that `heads` does not divide.
    """
    shape = tuple(shape)
    if len(shape) < 2:
        raise ValueError(f"Muon is for parameters of at least 2 dimensions, got shape {shape}")
    rows, columns = (shape[0], math.prod(shape[1:])) if flatten else shape[-2:]
    if rows % heads:
        raise ValueError(f"heads must divide the rows of each matrix, got heads={heads} for shape {shape}")
    batch = 1 if flatten else math.prod(shape[:-2])
    return Matrices(shape, batch * heads, rows // heads, columns)


class Update(NamedTuple):
    """One parameter's share of a step, momentum already advanced.

    direction: lerp(grad, buffer, nesterov), or the buffer alone where `nesterov` is None. step_size and
    decay: param ← decay · param - step_size · polar(direction).
    """

    param: Tensor
    grad: Tensor
    buffer: Tensor
    nesterov: float | None
    matrices: Matrices
    decay: float
    step_size: float

    def direction(self) -> Tensor:
        """What is to be orthogonalised; the buffer itself without Nesterov's momentum."""
        return self.buffer if self.nesterov is None else self.grad.lerp(self.buffer, self.nesterov)

    def write_direction(self, slot: Tensor) -> None:
        """Write the direction's matrices to `slot [count, *tall]`, with no copy in between."""
        buffer = self.matrices.read(self.buffer)
        if self.nesterov is None:
            slot.copy_(buffer)
        else:
            torch.lerp(self.matrices.read(self.grad), buffer, self.nesterov, out=slot)

    def apply(self, orthogonal: Tensor) -> None:
        """Take the step along a direction of the parameter's shape."""
        self.param.mul_(self.decay)
        self.param.add_(orthogonal, alpha=-self.step_size)
