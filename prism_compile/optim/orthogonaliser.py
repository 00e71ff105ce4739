"""The polar factors of many parameters' updates, for optimizers that others write."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .._interface.distributed import placed_like
from .._interface.options import RuleLike
from . import _options as check
from ._polar import BatchSolver, matrix_cut, orthogonalise
from ._processes import check_process_group, layout_of, shard_of, working_part
from ._round import Request, Shares


class Orthogonaliser:
    """Polar factors of many tensors at once: in batches, compiled, shared out over processes.

    It is what `Muon` does with its directions, for other optimizers: in the same batches, whose graphs this
    object keeps, and shared out in the same way.

    Args:
        steps, rule, degree, sketch_size, seed: see `polar`.
        dtype: the dtype of the iteration; None for the tensor's own.
        flatten, heads, heads_by, compile: see `Muon`.
        process_group: see `Muon`, of the tensors. Each process must call with the same shapes in the same
            order.

    Called with a sequence of tensors `[m, n]` or of more dimensions (float64, float32, bfloat16, float16) it
    returns a list of their polar factors, of the same shapes, dtypes and placements.

    Raises TypeError or ValueError, naming the argument, what it was and what is allowed.

    Example:
        >>> import torch
        >>> from prism_compile.optim import Orthogonaliser
        >>> weights = [torch.randn(8, 4), torch.randn(4, 8), torch.randn(6, 6)]
        >>> orthogonalise = Orthogonaliser(steps=8, compile=False)
        >>> for weight, direction in zip(weights, orthogonalise([w.sign() + w for w in weights])):
        ...     _ = weight.sub_(direction, alpha=0.02)
    """

    def __init__(
        self,
        *,
        steps: int = 5,
        rule: RuleLike = None,
        degree: int = 2,
        sketch_size: int = 8,
        seed: int = 0,
        dtype: torch.dtype | None = None,
        flatten: bool = True,
        heads: int | Sequence[int] = 1,
        heads_by: str = "rows",
        compile: bool | dict[str, Any] = True,
        process_group: Any = None,
    ):
        options = check.group_defaults(locals())
        check.check_options(options, {"steps": check.integer(1), "rule": check.rule, **check.SOLVE})
        self._options = check.solve_options(options, "steps")
        check.check_solve(self._options)
        self._how = {name: options[name] for name in ("flatten", "heads", "heads_by")}
        self._polar = BatchSolver(check.check_compile(compile))
        self._shares = Shares(keeps=False)
        self._process_group = check_process_group(process_group)

    @torch.no_grad()
    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch's
    def __call__(self, updates: Iterable[Tensor]) -> list[Tensor]:
        """The polar factor of each tensor; see the class."""
        if isinstance(updates, (Tensor, Mapping, str)) or not isinstance(updates, Iterable):
            raise TypeError(f"updates must be a sequence of tensors, got one {type(updates).__name__}")
        updates = list(updates)
        for update in updates:
            check.check_tensor(update, "updates")
        layouts = [layout_of(update, self._process_group, "updates") for update in updates]
        cuts = [matrix_cut(update.shape, name="updates", **self._how) for update in updates]
        filled = [i for i, update in enumerate(updates) if update.numel()]
        self._shares.share_out([(i, layouts[i], cuts[i]) for i in filled])
        found = [torch.empty_like(update) if not update.numel() else update for update in updates]

        def request(i: int) -> Request:
            share = self._shares[i]
            direction = working_part(updates[i], share.layout)

            def take(factor: Tensor) -> None:
                shard = shard_of(factor.to(direction.dtype), updates[i], share.layout)
                found[i] = placed_like(updates[i], shard, tuple(updates[i].shape))

            return Request(share, take, (self._options, None), direction)

        orthogonalise(self._polar, map(request, filled))
        return found
