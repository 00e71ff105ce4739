"""Grafting: the direction of one method with the length of another's step."""

import torch
from torch import Tensor

from ..._iteration.scaling import nonzero
from .._shared.exchange import Exchange
from .._shared.shares import Unit

GRAFTS = ("none", "sgd", "adam")


def _norms(direction: Tensor, plain: Tensor) -> Tensor:
    return torch.stack([torch.linalg.vector_norm(direction), torch.linalg.vector_norm(plain)])


def grafted(
    exchange: Exchange,
    units: list[Unit],
    directions: dict[Unit, Tensor],
    plain: dict[Unit, Tensor],
    like: Tensor,
) -> dict[Unit, Tensor]:
    """The directions of a plan's units, scaled weight by weight to the norm of the plain ones.

    directions, plain: of the units that are owned here. A direction of zeros stays as it is.
    """
    members: dict[int, list[Unit]] = {}
    for unit in units:
        members.setdefault(unit.member, []).append(unit)
    none = like.new_zeros(2)
    norms = {unit: _norms(directions[unit], plain[unit]) for unit in plain}
    # A block's owner knows its norms; those of a weight of several are put together, the others' as zeros.
    several = [unit for own in members.values() if len(own) > 1 for unit in own]
    if several and not exchange.alone:
        together = exchange.sum(torch.stack([norms.get(unit, none) for unit in several]))
        norms.update(zip(several, together.unbind()))
    scaled: dict[Unit, Tensor] = {}
    for own in members.values():
        if here := [unit for unit in own if unit in plain]:
            blocks = [norms[unit] for unit in own]
            total = torch.linalg.vector_norm(torch.stack(blocks), dim=0) if len(own) > 1 else blocks[0]
            factor = total[1] / nonzero(total[0])
            scaled.update((unit, directions[unit] * factor) for unit in here)
    return scaled
