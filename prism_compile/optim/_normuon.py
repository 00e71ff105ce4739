"""NorMuon: updates whose rows are evened out by a second moment of each row."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._iteration.precision import accumulation_dtype
from .._iteration.scaling import nonzero
from ._exchange import Exchange
from ._layout import Layout, local, placed_like
from ._round import Share

SECOND_MOMENT = "second_moment_buffer"


def row_dims(param: Tensor, flatten: bool) -> tuple[int, ...]:
    """The dimensions that a row of a parameter's matrices runs along."""
    return tuple(range(1, param.ndim)) if flatten else (param.ndim - 1,)


def has_whole_rows(layout: Layout, param: Tensor, flatten: bool) -> bool:
    """Whether shards hold rows whole."""
    return layout.dim not in row_dims(param, flatten)


class RowNormaliser:
    """Updates of one step, each divided row by row by the root of its mean square, at the norm that it had.

    Where shards have parts of an update their norms are put together, in one collective for all of them.
    """

    def __init__(self) -> None:
        # By exchange and device: the shared updates, also those of which this process has no part.
        self._numbers: dict[tuple[Exchange, torch.device], list[int]] = {}
        # The squared norms of the parts that are here, and what their ratio is given to.
        self._waiting: dict[tuple[Exchange, int], tuple[Tensor, Callable[[Tensor], None]]] = {}

    def expect(self, share: Share, device: torch.device) -> None:
        """Announce an update."""
        if share.exchange.plan.shards > 1:
            self._numbers.setdefault((share.exchange, device), []).append(share.number)

    def __call__(
        self,
        update: Tensor,
        share: Share,
        param: Tensor,
        state: dict[str, Any],
        beta: float,
        flatten: bool,
        apply: Callable[[Tensor], None],
    ) -> None:
        """Take an update, which `apply` gets when it is even."""
        kept = update.to(accumulation_dtype(update.dtype))
        dims = row_dims(param, flatten)
        square = kept.square().mean(dims, keepdim=True)
        if SECOND_MOMENT not in state:
            moment = torch.zeros_like(square)
            shape = torch.Size(1 if i in dims else n for i, n in enumerate(param.shape))
            state[SECOND_MOMENT] = moment if share.layout.gathered else placed_like(moment, param, shape)
        moment = local(state[SECOND_MOMENT]).lerp_(square, 1 - beta)
        # A row of zeros stays one.
        even = kept / nonzero(moment.sqrt())
        squares = torch.stack([each.square().sum() for each in (kept, even)])
        if share.exchange.plan.shards == 1:
            apply(even * _ratio(squares))
        else:
            self._waiting[share.exchange, share.number] = squares, lambda ratio: apply(even * ratio)

    def finish(self) -> None:
        """Apply what waits for the norms of others."""
        for (exchange, device), numbers in self._numbers.items():
            none = torch.zeros(2, device=device), None
            found = [self._waiting.get((exchange, number), none) for number in numbers]
            # In one dtype, for processes without a part do not know that of the others.
            squares = torch.stack([squares.double() for squares, _ in found])
            for total, (_, apply) in zip(exchange.sum(squares, over_replicas=False), found):
                if apply is not None:
                    apply(_ratio(total))


def _ratio(squares: Tensor) -> Tensor:
    """That of the norm of an update to its norm when it is even, from the squares of both."""
    return (squares[0] / nonzero(squares[1])).sqrt()
