"""The polar factors of many parameters' updates, for optimizers that others write."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .._interface.options import RuleLike
from ._layout import check_process_group, layout_of, placed_like, shard_of, working_part
from ._options import check_compile, check_rule_like, check_solve, check_tensor, group_defaults, solve_options
from ._polar import BatchSolver, Wanted, matrix_cut, orthogonalise
from ._round import Direction, Request, Shares


class Orthogonaliser:
    """Polar factors of many tensors at once: in batches, compiled, shared out over processes.

    It is what `Muon` does with its directions, for other optimizers. Tensors of equal (or of
    transposed) shape and dtype are one batch of one call of `polar`, compiled once for each such batch and
    kept by this object. Those that FSDP2 shards (DTensor) are put together by the process that solves them.

    Args:
        steps, rule, degree, sketch_size, seed: see `polar`.
        dtype: the dtype of the iteration; None for the tensor's own.
        flatten: read `[out, ...]` as the matrix `[out, rest]`; False: leading dimensions are a batch.
        heads, heads_by: the number of matrices of equal height that each matrix stacks, or the height of
            each; with `heads_by="columns"` their number or widths side by side.
        compile: True, False for eager solves, or keyword arguments of `torch.compile`.
        process_group: a ProcessGroup, or a DeviceMesh of one dimension, whose processes hold the same tensors
            (or the same shards) and share the solves. Each must call with the same shapes in the same order.

    Called with a sequence of tensors `[m, n]` or of more dimensions (float64, float32, bfloat16, float16) it
    returns a list of their polar factors, of the same shapes, dtypes and placements.

    Raises:
        TypeError, ValueError: naming the argument, what it was and what is allowed.

    Cost: that of `polar` for each matrix, a W-th of them on each of W processes.

    Source: K. Jordan, Muon (2024); the rule's own, see `polar`.

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
        rule = check_rule_like(rule)
        options = group_defaults(locals())
        check_solve(options, "steps")
        self._options = solve_options(options, "steps")
        self._how = options["flatten"], options["heads"], options["heads_by"]
        self._polar = BatchSolver(check_compile(compile))
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
            check_tensor(update, "updates")
        layouts = [layout_of(update, self._process_group, "updates") for update in updates]
        cuts = [matrix_cut(update.shape, *self._how, "updates") for update in updates]
        layouts = [own if cut.suits(own) else own.whole() for own, cut in zip(layouts, cuts)]
        filled = [i for i, update in enumerate(updates) if update.numel()]
        self._shares.share_out([(i, layouts[i], cuts[i]) for i in filled])
        found: dict[int, Tensor] = {}

        def request(i: int) -> Request:
            direction = working_part(updates[i], layouts[i])

            def take(factor: Tensor) -> None:
                shard = shard_of(factor.reshape(direction.shape).to(direction.dtype), updates[i], layouts[i])
                found[i] = placed_like(shard, updates[i])

            return Request(self._shares[i], Direction(direction), take, Wanted(self._options))

        orthogonalise(self._polar, map(request, filled))
        return [found[i] if i in found else torch.empty_like(update) for i, update in enumerate(updates)]
