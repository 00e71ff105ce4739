"""Krylov blocks of the residual under a sketch."""

import torch
from torch import Tensor


def krylov_blocks(sketch: Tensor, residual: Tensor, square: Tensor | None, count: int) -> list[Tensor]:
    """V_j = S R^j for j < count, each `[b, q, n]`.

    sketch: `[q, n]`; residual: `[b, n, n]`; square: its square where at hand, which halves the number
    of skinny products. Rows are sketched, not columns, so that the blocks of one matrix lie end to end in
    memory; ‖S h(R)‖ estimates ‖h(R)‖_F whether or not R is symmetric.
    """
    q = sketch.shape[0]
    block = sketch.expand(residual.shape[0], *sketch.shape)
    blocks = [block]
    if square is None:
        for _ in range(count - 1):
            block = torch.bmm(block, residual)
            blocks.append(block)
        return blocks
    blocks += [torch.bmm(block, residual), torch.bmm(block, square)]
    # The pair leaves out the sketch itself, whose place in memory differs from step to step: Inductor would
    # compile a kernel for each.
    pair = torch.cat(blocks[1:], dim=1)
    while len(blocks) < count:
        pair = torch.bmm(pair if len(blocks) + 1 < count else pair[:, :q], square)
        blocks.extend(pair.split(q, dim=1))
    return blocks
