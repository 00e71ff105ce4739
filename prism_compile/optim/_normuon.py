"""NorMuon: updates whose rows are evened out by a second moment of each row."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .._interface.distributed import placed_like
from .._iteration.precision import accumulation_dtype
from .._iteration.scaling import nonzero
from ._plan import Plan
from ._processes import local, sum_over
from ._round import Share

SECOND_MOMENT = "second_moment_buffer"
# What takes an update.
Apply = Callable[[Tensor], None]


class EvenRows:
    """NorMuon's updates of one step: rows divided by the roots of their second moments, the norm kept.

    Where shards have parts of an update their norms are put together, in one collective for all of them.
    """

    def __init__(self) -> None:
        # Shared updates by plan and device, then by number: the squared norms of the part that is here,
        # before and when it is even, and what takes their ratio, None where no part is here.
        self._shared: dict[tuple[Plan, torch.device], dict[int, tuple[Tensor, Apply | None]]] = {}

    def of(self, share: Share, param: Tensor, state: dict[str, Any], beta2: float, apply: Apply) -> Apply:
        """What takes an update of a parameter, of which `apply` gets the even one."""
        if share.plan.shards > 1:
            none = torch.zeros(2, device=param.device), None
            self._shared.setdefault((share.plan, param.device), {})[share.number] = none
        return partial(self._take, share, param, state, beta2, apply)

    def _take(
        self, share: Share, param: Tensor, state: dict[str, Any], beta2: float, apply: Apply, update: Tensor
    ) -> None:
        kept, dims = update.to(accumulation_dtype(update.dtype)), share.cut.row_dims
        square = kept.square().mean(dims, keepdim=True)
        if SECOND_MOMENT not in state:
            moment = torch.zeros_like(square)
            shape = tuple(1 if i in dims else n for i, n in enumerate(param.shape))
            state[SECOND_MOMENT] = moment if share.layout.gathered else placed_like(param, moment, shape)
        # The dtype of the iteration may be another one by now.
        state[SECOND_MOMENT] = state[SECOND_MOMENT].to(square.dtype)
        moment = local(state[SECOND_MOMENT]).lerp_(square, 1 - beta2)
        # A row of zeros stays a row of zeros.
        even = kept / nonzero(moment.sqrt())
        squares = torch.stack([each.square().sum() for each in (kept, even)])
        if share.plan.shards == 1:
            apply(even * _ratio(squares))
        else:
            waiting = squares, lambda ratio: apply(even * ratio)
            self._shared[share.plan, param.device][share.number] = waiting

    def finish(self) -> None:
        """Apply what waits for the norms of others."""
        for (plan, _), updates in self._shared.items():
            # All norms are float64, for a process without a part does not know the dtype of the others.
            squares = torch.stack([squares.double() for squares, _ in updates.values()])
            for total, (_, apply) in zip(sum_over(squares, plan.groups[1]), updates.values()):
                if apply is not None:
                    apply(_ratio(total))


def _ratio(squares: Tensor) -> Tensor:
    """The ratio of an update's norm to its norm when it is even, from the squares of both."""
    return (squares[0] / nonzero(squares[1])).sqrt()
