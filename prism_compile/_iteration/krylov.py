"""Krylov blocks of the residual under a sketch, and their moments."""

import torch
from torch import Tensor

from . import labels
from .precision import accumulation_dtype


def krylov_blocks(sketch: Tensor, residual: Tensor, square: Tensor | None, count: int) -> Tensor:
    """V_j = S R^j for j < count.

    sketch: `[q, n]`; residual: `[b, n, n]`; square: its square where at hand, which halves the number
    of skinny products. Returns `[b, count, q·n]`. Rows are sketched, not columns, so that the blocks of
    one matrix lie end to end in memory; ‖S h(R)‖ estimates ‖h(R)‖_F whether or not R is symmetric.
    """
    batch = residual.shape[0]
    q, n = sketch.shape
    block = sketch.expand(batch, q, n)
    blocks = [block]
    if square is None:
        for _ in range(count - 1):
            block = torch.bmm(block, residual)
            blocks.append(block)
    else:
        pair = torch.cat([block, torch.bmm(block, residual)], dim=1)
        blocks = [pair]
        for _ in range((count - 1) // 2):
            pair = torch.bmm(pair, square)
            blocks.append(pair)
    stacked = torch.cat(blocks, dim=1)[:, : count * q]
    return stacked.reshape(batch, count, q * n)


def moment_matrix(blocks: Tensor) -> Tensor:
    """M_ij = ⟨V_i, V_j⟩ of blocks `[b, count, q·n]`, `[b, count, count]`, in at least float32."""
    blocks = blocks.to(accumulation_dtype(blocks.dtype))
    with labels.phase("moments"):
        return torch.bmm(blocks, blocks.transpose(-1, -2))
